"""The object of all outputs in a reply: beside prose and other braces, wrapped, and repaired."""

from __future__ import annotations

import datetime
import enum
from typing import Any, Literal

import pydantic
import pytest

from lmpipe.layouts.layout import LayoutError, Reading
from lmpipe.layouts.read_object import read_object
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec


class Bill(pydantic.BaseModel):
    total: int
    note: str = ""


class Person(pydantic.BaseModel):
    full_name: str = pydantic.Field(alias="fullName")


class Rank(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


def outputs_spec(**annotations: Any) -> SignatureSpec:
    fields: dict[str, Any] = {name: (kind, Output()) for name, kind in annotations.items()}
    made = pydantic.create_model("Made", __base__=Signature, question=(str, Input()), **fields)
    return spec_of(made)


def read(text: str, **annotations: Any) -> Reading:
    """The outputs as a result would have them."""
    spec = outputs_spec(**annotations)
    reading = read_object(spec, text)
    fields = {field.name: field for field in spec.outputs}
    typed = {name: fields[name].typed(value) for name, value in reading.values.items()}
    return Reading(typed, reading.repaired)


@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "```json\n{}\n```",
        "Sure:\n```\n{}\n```\nReplace {{id}} as needed.",
        "{}\n\nReplace {{id}} as needed.",
        "For {{id}} and [x] I get:\n{}",
        '{}\n(The form is {{"a": {{"total": 0}}}}.)',
        '```json\n{}\n```\nor:\n```json\n{{"a": {{"total": 0}}}}\n```',
        'In {{"b": 1}} nothing is right. {}',
        '```json\n{{"b": 1}}\n```\nis wrong. Right is:\n```json\n{}\n```',
        '```json\n{{"b": 1}}\n```\nis wrong. Right is: {}',
        "{{{}}}",
    ],
)
def test_the_first_object_that_fits_is_read_beside_other_braces(form: str) -> None:
    reading = read(form.format('{"a": {"total": 5, "note": "a } b"}}'), a=Bill)
    assert reading == Reading({"a": Bill(total=5, note="a } b")})


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ('{"output": {"a": 5}}', int, 5),
        ('[{"a": 5}]', int, 5),
        ('"{\\"a\\": 5}"', int, 5),
        ('{"result": [{"a": 5}]}', int, 5),
        ('{"A": 5}', int, 5),
        ('{"a": {"value": "Paris"}}', str, "Paris"),
        ('{"a": ["Paris"]}', str, "Paris"),
        ('{"a": 5}', str, "5"),
        ('{"total": 5}', Bill, Bill(total=5)),
        ('{"a": {"bill": {"Total": 5}}}', Bill, Bill(total=5)),
        ('{"a": "{\\"total\\": 5}"}', Bill, Bill(total=5)),
        ('{"a": [{"total": "1,200"}]}', Bill, Bill(total=1200)),
        ('{"a": {"items": ["x", "y"]}}', list[str], ["x", "y"]),
        ('{"items": ["x", "y"]}', list[str], ["x", "y"]),
        ('["x", "y"]', list[str], ["x", "y"]),
        ('{"a": {"items": [{"TOTAL": 1}]}}', list[Bill], [Bill(total=1)]),
        ('{"a": {"Full Name": "Ada"}}', Person, Person(fullName="Ada")),
        ('{"a": {"output": {"Total": 5}}}', Bill | Person, Bill(total=5)),
        ('{"a": {"output": {"FULL_NAME": "Ada"}}}', Bill | Person | None, Person(fullName="Ada")),
        ('{"a": 5,}', int, 5),
        ("{'a': 'it is \"so\"'}", str, 'it is "so"'),
        ('{"a": "He said "hi" to me"}', str, 'He said "hi" to me'),
        ('{"a": {"b": True, "c": None,},}', dict[str, Any], {"b": True, "c": None}),
    ],
)
def test_wrapped_json_and_small_mistakes_are_read_and_marked_as_repaired(
    text: str, kind: Any, value: Any
) -> None:
    assert read(text, a=kind) == Reading({"a": value}, repaired=True)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ('{"a": "1,234"}', int, 1234),
        ('{"a": "12_345.5"}', float, 12345.5),
        ('{"a": "$2.3M"}', float, 2_300_000),
        ('{"a": "2"}', Literal[1, 2, 3], 2),
        ('{"a": 2}', Literal["1", "2"], "2"),
        ('{"a": "Billing."}', Literal["billing", "sales"], "billing"),
        ('{"a": "It is about billing."}', Literal["billing", "sales"], "billing"),
        ('{"a": "Yes."}', bool, True),
        ('{"a": "HIGH"}', Rank, Rank.HIGH),
        ('{"a": 2}', Rank, Rank.HIGH),
        ('{"a": ["HIGH"]}', list[Rank], [Rank.HIGH]),
        ('{"a": "5 Mar 2024"}', datetime.date, datetime.date(2024, 3, 5)),
        ('{"a": "3:30 pm"}', datetime.time, datetime.time(15, 30)),
        ('{"a": "none"}', datetime.datetime | None, None),
        ('{"a": "none"}', int | None, None),
        ('{"a": "none"}', str | None, "none"),
        ('{"a": {"fullName": "Ada"}}', Person, Person(fullName="Ada")),
        ('{"a": {"full_name": "Ada"}}', Person, Person(fullName="Ada")),
        ('{"a": 18446744073709551617}', int, 2**64 + 1),
    ],
)
def test_values_in_json_are_read_as_outside_of_it(text: str, kind: Any, value: Any) -> None:
    assert read(text, a=kind) == Reading({"a": value})


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ('{"a": {"total": 12', Bill, "must be one JSON object"),
        ('[{"a": {"total": 1}}, {"a": {"total": 2', Bill, "must be one JSON object"),
        ('{"a": ["one", "two", "thr', list[str], "must be one JSON object"),
        ('{"a": }', str, "must be one JSON object"),
        ('{"a": ["x"] 1}', list[str] | str, "must be one JSON object"),
        ('{"a": ["x" "y"]}', list[str], "must be one JSON object"),
        ('{"a": 5 and "b": 6}', int, "must be one JSON object"),
        ('{"b": 5}', int, "the reply lacks 'a'"),
        ('{"result": {"b": 5}}', dict[str, Any], "the reply lacks 'a'"),
        ('{"error": "no text"}', str, "the reply lacks 'a'"),
        ('{"b": 5, "c": 6}', int | None, "the reply lacks 'a'"),
        ('{"a": true}', int, "'a' must be int: true is not a number or a time"),
        ('{"a": 86400}', datetime.date, "'a' must be date: '86400' is not a date"),
        ('{"a": "90"}', datetime.timedelta, "'a' must be a duration, got '90'"),
        ('{"a": "3 or 4"}', int, "'a' must be a whole number, got '3 or 4'"),
        ('{"a": "It is not billing."}', Literal["billing", "sales"], "must be one of billing"),
        ("I cannot.", int, "must be one JSON object, got 'I cannot.'"),
    ],
)
def test_what_has_no_single_reading_is_refused(text: str, kind: Any, says: str) -> None:
    with pytest.raises(LayoutError) as raised:
        read(text, a=kind)
    assert says in str(raised.value)


def test_two_keys_that_would_become_one_are_refused() -> None:
    with pytest.raises(LayoutError, match="lacks 'a_b'"):
        read('{"A_B": 1, "a-b": 2}', a_b=int)


def test_an_invalid_value_is_left_to_the_validation_of_the_outputs() -> None:
    spec = outputs_spec(a=Bill)
    assert read_object(spec, '{"a": {"total": "many"}}').values == {"a": {"total": "many"}}


def test_outputs_that_may_be_none_may_be_left_out() -> None:
    assert read('{"a": 1}', a=int, b=str | None) == Reading({"a": 1})
    assert read("{}", b=str | None) == Reading({})
