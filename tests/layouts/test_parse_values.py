"""Single values: writing them as text and reading them from an LM's text."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.layouts.layout import LayoutError
from lmpipe.layouts.parse_values import json_text, read_value, spell
from lmpipe.layouts.read_json import read_json
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.signatures.signature_spec import FieldSpec


class Colour(enum.Enum):
    DARK_RED = "dark-red"
    BLUE = "blue"


class Rank(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


def field(annotation: Any) -> FieldSpec:
    signature = pydantic.create_model(
        "Made", __base__=Signature, question=(str, Input()), answer=(annotation, Output())
    )
    return spec_of(signature).outputs[0]


def read(annotation: Any, text: str) -> Any:
    """The value that a result would have."""
    raw, _ = read_value(field(annotation), text)
    return field(annotation).type_adapter.validate_python(raw)


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (str, "x", "x"),
        (str | None, None, "none"),
        (str | None, "x", "x"),
        (bool, True, "yes"),
        (bool, False, "no"),
        (int, 7, "7"),
        (int, 2**70, str(2**70)),
        (float, 0.5, "0.5"),
        (decimal.Decimal, "1.10", "1.10"),
        (Literal["a", 1, True], True, "True"),
        (Colour, "blue", "blue"),
        (list[int], [1, 2], "[1,2]"),
        (dict[str, str], {"b": "ä", "a": "1"}, '{"b":"ä","a":"1"}'),
        (str | int, "x", '"x"'),
        (Any, None, "null"),
        (Any, True, "true"),
        (list[int] | None, None, "none"),
        (Rank, "HIGH", "HIGH"),
        (Literal[Rank.HIGH], "HIGH", "HIGH"),
    ],
)
def test_spelling(annotation: Any, value: Any, text: str) -> None:
    assert spell(field(annotation), value) == text


def test_values_of_another_type_are_written() -> None:
    assert spell(field(str), 5) == "5"
    assert spell(field(str), None) == "none"
    assert spell(field(int), "about five") == "about five"


def test_json_text_refuses_other_objects() -> None:
    with pytest.raises(TypeError):
        json_text({"x": object()})


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (Literal["billing", "on hold"], "billing", "billing"),
        (Literal["billing", "on hold"], " Billing. ", "billing"),
        (Literal["billing", "on hold"], "**on_hold**", "on hold"),
        (Literal["billing", "on hold"], "billing\nbecause of the invoice", "billing"),
        (Literal["c", "C"], "C", "C"),
        (Literal["c", "C"], "c", "c"),
        (Literal[1, 2], "2", 2),
        (Colour, "Dark Red", Colour.DARK_RED),
        (bool, "Yes.", True),
        (bool, "false", False),
        (int, "42", 42),
        (int, "It is 42.", 42),
        (int, "1,234,567", 1234567),
        (int, "-3", -3),
        (int, "\N{MINUS SIGN}3", -3),
        (int, "7.0", 7),
        (float, "$1,234.50", 1234.5),
        (float, ".5", 0.5),
        (float, "-.5", -0.5),
        (float, "1e-7", 1e-7),
        (float, "80%", 80.0),
        (float, "1/2", 0.5),
        (
            decimal.Decimal,
            "1.100000000000000000000001",
            decimal.Decimal("1.100000000000000000000001"),
        ),
        (datetime.date, "2026-02-28", datetime.date(2026, 2, 28)),
        (str, "  text \n", "text"),
        (str, "", ""),
    ],
)
def test_reading(annotation: Any, text: str, value: Any) -> None:
    found = read(annotation, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (float, "-$5.00", -5.0),
        (int, "\u20135", -5),
        (float, "(5.00)", -5.0),
        (int, "minus 5", -5),
        (int, "1.5 million", 1_500_000),
        (float, "$2.3M", 2_300_000.0),
        (int, "3k", 3000),
        (float, "12_345.5", 12345.5),
        (int, "18.00", 18),
        (int, "2e3", 2000),
        (float, "16 - 3 - 4 = 9\n9 * 2 = 18", 18.0),
        (decimal.Decimal, "$1,234.50", decimal.Decimal("1234.50")),
        (float | None, "(5.00)", -5.0),
        (int | float, "1,234.5", 1234.5),
    ],
)
def test_a_number_is_read_whole_with_sign_magnitude_and_equation(
    annotation: Any, text: str, value: Any
) -> None:
    found = read(annotation, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (Colour, "DARK_RED", Colour.DARK_RED),
        (Colour, "It is blue.", Colour.BLUE),
        (Rank, "HIGH", Rank.HIGH),
        (Rank, "high", Rank.HIGH),
        (Rank, "2", Rank.HIGH),
        (Rank | None, "The rank is LOW.", Rank.LOW),
        (Literal[Rank.LOW, None], "LOW", Rank.LOW),
        (list[Literal[Rank.HIGH]], '["HIGH"]', [Rank.HIGH]),
        (list[Rank], '["LOW", "HIGH"]', [Rank.LOW, Rank.HIGH]),
        (dict[Rank, int], '{"LOW": 1}', {Rank.LOW: 1}),
        (Literal[1, 2, 3], "The answer is 2.", 2),
        (Literal[-1, 0, 1], "I choose \u20131.", -1),
        (Literal["A", "B", "C"], "The answer is B.", "B"),
        (Literal["A", "B", "C"], "I would choose A.", "A"),
        (Literal["A", "B", "C"], "b", "B"),
        (Literal["yes", "no"], "No, it can wait.", "no"),
        (Literal["billing", "other"], "It is billing, among other things.", "billing"),
        (Literal["billing", "sales"], "\u201cBilling\u201d.", "billing"),
        (Literal["billing", "sales"], "I would say billing, since it is about money.", "billing"),
        (Literal["urgent", "not urgent"], "This is not urgent.", "not urgent"),
        (bool, "Yes, it is.", True),
        (bool, "No.", False),
    ],
)
def test_a_choice_is_read_by_name_or_value_and_inside_a_sentence(
    annotation: Any, text: str, value: Any
) -> None:
    assert read(annotation, text) == value


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Literal["billing", "sales"], "Not billing."),
        (Literal["billing", "sales"], "It isn't billing."),
        (Literal["billing", "sales"], "It may be billing or sales."),
        (Literal["billing", "sales"], "I was told this. It is about billing."),
        (Literal["billing", "sales"], "rebilling"),
        (Literal["billing", "sales"], "billing " + "x" * 200),
        (Literal["c", "C"], "It is c."),
        (Literal["A", "B", "C"], "It is a good answer."),
        (Literal["A", "B", "C"], "A good answer."),
        (Literal["A", "B", "C"], "A or B."),
        (Literal[Rank.LOW], "HIGH"),
        (Literal["I", "II"], "Here I am not sure."),
        (Literal["yes", "no"], "There is no problem."),
        (Literal["billing", "other"], "It is something other."),
        (Literal[1, 2, 3], "-2"),
        (Literal[1, 2, 3], "2.5"),
        (Literal[1, 2, 3], "2 or 3"),
        (Literal["c", "C"], "c."),
        (bool, "There is no doubt."),
        (bool, "yes and no"),
    ],
)
def test_a_sentence_that_may_mean_another_choice_is_refused(annotation: Any, text: str) -> None:
    with pytest.raises(LayoutError, match="'answer' must be"):
        read_value(field(annotation), text)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int | str, "about five", "about five"),
        (int | str, "see [x]", "see [x]"),
        (int | str, "5", 5),
        (int | str, '"5"', "5"),
        (int | str | None, "none", None),
        (dict[str, int] | str, 'such as {"a": 1}', 'such as {"a": 1}'),
        (dict[str, int] | str, '```json\n{"a": 1}\n```', {"a": 1}),
        (Literal["a", "b"] | int, "b", "b"),
        (Any, "plain words", "plain words"),
        (Any, 'So: {"a": 1}', {"a": 1}),
    ],
)
def test_a_type_that_takes_text_takes_it_without_quotes(
    annotation: Any, text: str, value: Any
) -> None:
    found = read(annotation, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["{a: b} is it.", "So: {a: b}"])
def test_prose_after_json_is_not_taken_into_it(text: str) -> None:
    assert read_value(field(dict[str, str]), text) == ({"a": "b"}, True)


@pytest.mark.parametrize("text", ['{"a": {"b": 1}, "c": "cut', '["one", "two", "thr', '{"a": "cut'])
def test_json_that_was_cut_is_not_completed(text: str) -> None:
    with pytest.raises(LayoutError, match="must be a JSON"):
        read_value(field(dict[str, Any] if text.startswith("{") else list[str]), text)


@pytest.mark.parametrize("kind", [dict[str, Any], list[str], int | str, Any])
@pytest.mark.parametrize(
    "text", ["{" * 20_000, "{x}" * 7000, "{'a': [" * 3000, "[" + "'" * 15_000 + "]", "## " * 9000]
)
def test_hostile_replies_are_read_or_refused_in_little_time(kind: Any, text: str) -> None:
    with contextlib.suppress(LayoutError):
        read_value(field(kind), text)  # took seconds when the time grew with the square


@pytest.mark.parametrize(
    ("annotation", "text", "says"),
    [
        (Literal["billing", "shipping"], "sales", "must be one of billing, shipping, got 'sales'"),
        (Literal["billing", "shipping"], "billing or shipping", "must be one of"),
        (bool, "perhaps", "must be yes or no, got 'perhaps'"),
        (int, "no idea", "must be a whole number, got 'no idea'"),
        (int, "3 or 4", "must be a whole number"),
        (int, "3-4", "must be a whole number"),
        (int, "2026-01-02", "must be a whole number"),
        (float, "1/2/2024", "must be a number"),
        (float, "", "must be a number, got ''"),
        (list[int], "none at all", "must be a JSON list"),
        (list[int], "", "must be a JSON list"),
    ],
)
def test_the_error_says_what_cannot_be_read(annotation: Any, text: str, says: str) -> None:
    with pytest.raises(LayoutError) as raised:
        read_value(field(annotation), text)
    assert "'answer'" in str(raised.value)
    assert says in str(raised.value)


def test_an_empty_list_of_lists_is_a_value() -> None:
    assert read(list[list[int]] | None, "[[]]") == [[]]


@pytest.mark.parametrize("annotation", [int | None, bool | None, Colour | None, list[str] | None])
@pytest.mark.parametrize("text", ["none", "None.", "null", "N/A", '"none"', "[[none]]", "-", ""])
def test_none_has_many_spellings(annotation: Any, text: str) -> None:
    assert read(annotation, text) is None


@pytest.mark.parametrize("text", ["none", "N/A", "-", ""])
def test_an_optional_text_cannot_hold_a_word_for_none(text: str) -> None:
    # Text layouts have no quotes to tell them apart; the JSON layout does.
    assert read(str | None, text) is None


@pytest.mark.parametrize("text", ["none", "N/A", "-"])
def test_a_required_text_can_hold_a_word_for_none(text: str) -> None:
    assert read(str, text) == text


def test_a_choice_named_none_is_not_none() -> None:
    severity = Literal["none", "mild"] | None
    assert read(severity, "None") == "none"
    assert read(severity, spell(field(severity), "none")) == "none"
    assert read(severity, spell(field(severity), None)) is None


@pytest.mark.parametrize(
    ("text", "value", "repaired"),
    [
        ('{"a": 1}', {"a": 1}, False),
        ('```json\n{"a": 1}\n```', {"a": 1}, False),
        ("Sure!\n```\n[1]\n```\nDone.", [1], False),
        ('Here it is: {"a": 1}. Good luck!', {"a": 1}, False),
        ("Here they are: [1, 2].", [1, 2], False),
        ('All: [{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}], False),
        ('See [1]: {"a": [2]}', {"a": [2]}, False),
        ("There are none: []", [], False),
        ("{'a': 1,}", {"a": 1}, True),
    ],
)
def test_json_is_found_in_prose(text: str, value: Any, repaired: bool) -> None:
    container = "array" if isinstance(value, list) else "object"
    assert read_json("answer", text, container) == (value, repaired)


def test_long_numbers_stay_exact() -> None:
    value, _ = read_json("answer", '{"n": 123456789012345678901234567890}')
    assert value == {"n": 123456789012345678901234567890}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5_000, "[" * 200 + "]" * 200])
def test_json_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(LayoutError, match="'answer' must be JSON"):
        read_json("answer", text)


@pytest.mark.parametrize("kind", [str, int | None, bool, Colour, list[str], dict[str, Any], float])
def test_any_text_is_read_or_refused(kind: Any) -> None:
    @given(st.text())
    def check(text: str) -> None:
        with contextlib.suppress(LayoutError):
            read_value(field(kind), text)

    check()
