"""`parse_value`: any type from text, or a refusal."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts.parse_value_cases import READ, REFUSED, Bill, Box, Order, Person, Rank

import lmpipe
from lmpipe.errors import CallError, OutputError, SignatureError
from lmpipe.layouts import LayoutError, layout_named
from lmpipe.metrics import parse_number
from lmpipe.signatures.signature import spec_of

KINDS = list({repr(kind): kind for kind, *_ in READ}.values())


@pytest.mark.parametrize(("annotation", "text", "value"), READ)
def test_what_has_one_reading_is_read(annotation: Any, text: str, value: Any) -> None:
    found = lmpipe.parse_value(text, annotation)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("annotation", "text"), REFUSED)
def test_what_has_no_single_reading_is_refused(annotation: Any, text: str) -> None:
    with pytest.raises(OutputError, match="the value") as raised:
        lmpipe.parse_value(text, annotation)
    assert raised.value.raw == text


class _Spec(lmpipe.Signature):
    question: str = lmpipe.Input()


def _outputs(annotation: Any, text: str, layout: str) -> Any:
    """What a layout reads a reply with this text of an output as."""
    made = pydantic.create_model("Made", __base__=_Spec, answer=(annotation, lmpipe.Output()))
    reply = f"[[answer]]\n{text}" if layout == "chat" else text
    reading = layout_named(layout).read(spec_of(made), reply)
    return made.model_validate({"question": "x", **reading.values}).answer


@pytest.mark.parametrize("layout", ["chat", "plain"])
@pytest.mark.parametrize(("annotation", "text", "value"), READ)
def test_the_text_layouts_read_the_same(
    annotation: Any, text: str, value: Any, layout: str
) -> None:
    assert _outputs(annotation, text, layout) == value


@pytest.mark.parametrize(("annotation", "text"), REFUSED)
def test_the_chat_layout_refuses_the_same(annotation: Any, text: str) -> None:
    with pytest.raises((LayoutError, pydantic.ValidationError)):
        _outputs(annotation, text, "chat")


_SCALARS = [case for case in READ if case[0] in (int, float, bool, dt.date, dt.datetime, dt.time)]


@pytest.mark.parametrize(("annotation", "text", "value"), _SCALARS)
def test_a_string_inside_json_is_read_as_the_text_outside_of_it(
    annotation: Any, text: str, value: Any
) -> None:
    written = json.dumps({"item": text})
    assert lmpipe.parse_value(written, Box[annotation]).item == value


@pytest.mark.parametrize(
    ("annotation", "text"),
    [(int, text) for kind, text, _ in READ if kind is int]
    + [(float, text) for kind, text, _ in READ if kind is float],
)
def test_metrics_read_the_same_numbers(annotation: Any, text: str) -> None:
    assert parse_number(text) == lmpipe.parse_value(text, annotation)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "42"),
        (int, "-3"),
        (int | None, "none"),
        (float, "0.5"),
        (float, "1e-7"),
        (Decimal, "1.10"),
        (dt.date, "2024-03-05"),
        (dt.time, "15:30"),
        (dt.datetime, "2024-03-05T15:30:00Z"),
        (dt.timedelta, "PT5M"),
        (bool, "yes"),
        (bool, "false"),
        (Literal["a", "b"], "a"),
        (Rank, "HIGH"),
        (str, "some text"),
        (list[int], "[1, 2]"),
        (list[dt.date], '["2024-03-05"]'),
        (list[Rank], '["LOW"]'),
        (Bill, '{"total": 5}'),
        (Person, '{"fullName": "Ada"}'),
        (int | str, "about five"),
        (int | str, "5"),
    ],
)
def test_what_is_written_as_asked_has_no_coercions(annotation: Any, text: str) -> None:
    assert lmpipe.ParsedValue.read(text, annotation).coercions == ()
    assert lmpipe.parse_value(text, annotation, strict=True) == lmpipe.parse_value(text, annotation)


@pytest.mark.parametrize(
    ("annotation", "text", "says"),
    [
        (int, "$1,234", "'$1,234' read as '1234'"),
        (int, "7.0", "'7.0' read as '7'"),
        (int | None, "N/A", "'N/A' read as 'none'"),
        (float, "80%", "'80%' read as '80.0'"),
        (dt.date, "March 5, 2024", "'March 5, 2024' read as '2024-03-05'"),
        (bool, "Yes, it is.", "'Yes, it is.' read as 'yes'"),
        (Literal["a", "b"], '"A".', "read as 'a'"),
        (list[str], "- a\n- b", "'- a\\n- b' read as '[\"a\",\"b\"]'"),
        (Bill, 'So: {"total": 5}', "read as"),
        (Bill, '{"total": 5,}', "read as"),
        (Bill, '{"total": "5"}', "total: Input should be a valid integer"),
        (Order, '{"lines": [{"total": "$5"}], "team": "sales", "paid": true}',
         "lines[0].total: '$5' read as 5"),
        (dict[Rank, int], '{"LOW": "5"}', "1: Input should be a valid integer"),
        (list[int], '["5"]', "0: Input should be a valid integer"),
        (Bill, '{"Total": 5}', "{'Total': 5} read as {'total': 5}"),
    ],
)  # fmt: skip
def test_what_had_to_be_interpreted_is_told_and_can_be_refused(
    annotation: Any, text: str, says: str
) -> None:
    [coercion] = lmpipe.ParsedValue.read(text, annotation).coercions
    assert says in coercion
    with pytest.raises(OutputError, match="must be written as") as raised:
        lmpipe.parse_value(text, annotation, strict=True)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("annotation", "text", "says"),
    [
        (int, "3 or 4", "the value must be a whole number, got '3 or 4'"),
        (dt.datetime, "05/03/2024", "the value must be a date and time, got '05/03/2024'"),
        (dt.timedelta, "5", "the value must be a duration, got '5'"),
        (Literal["a", "b"], "c", "the value must be one of a, b, got 'c'"),
        (list[int], "nothing", "the value must be a JSON list, got 'nothing'"),
        (list[int], "[true]", "the value must be list[int]: true is not a number or a time"),
        (Bill, '{"total": "x"}', 'the value must be Bill, got \'{"total": "x"}\': total:'),
        (uuid.UUID, "123", "the value must be UUID, got '123'"),
    ],
)
def test_a_refusal_gives_its_reason(annotation: Any, text: str, says: str) -> None:
    with pytest.raises(OutputError) as raised:
        lmpipe.parse_value(text, annotation)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (float, "1e999"),
        (float, "9" * 400),
        (list[float], "[1, 1e999]"),
        (Box[float], '{"item": "1e999"}'),
    ],
)
def test_a_number_that_no_float_can_hold_is_not_taken_for_infinity(
    annotation: Any, text: str
) -> None:
    with pytest.raises(OutputError, match="the value"):
        lmpipe.parse_value(text, annotation)


def test_a_type_without_a_json_schema_is_refused() -> None:
    with pytest.raises(SignatureError, match="range has no JSON schema"):
        lmpipe.parse_value("5", range)


@pytest.mark.parametrize("annotation", [Literal, object()])
def test_what_is_not_a_type_is_refused(annotation: Any) -> None:
    with pytest.raises(SignatureError):
        lmpipe.parse_value("5", annotation)


def test_only_a_text_is_read() -> None:
    with pytest.raises(CallError, match="must be a str, got 5"):
        lmpipe.parse_value(5, int)  # type: ignore[call-overload]


def test_a_type_that_cannot_be_hashed_is_read() -> None:
    bounded: Any = Annotated[int, pydantic.Field(json_schema_extra={"examples": [1]})]
    assert lmpipe.parse_value("5", bounded) == 5


@given(st.text() | st.text("0123456789.,-/: []{}\"'tfjan\n"), st.sampled_from(KINDS))
def test_any_text_is_read_or_refused(text: str, kind: Any) -> None:
    with contextlib.suppress(OutputError):
        lmpipe.parse_value(text, kind)


@pytest.mark.parametrize("text", ['"a" or "b"', "`a` and `b`", "```\na\n```\n```\nb\n```"])
def test_marks_around_two_texts_are_not_taken_off_one(text: str) -> None:
    without_marks = Annotated[str, pydantic.StringConstraints(pattern=r"^[^\"`]*$")]
    with pytest.raises(OutputError):
        lmpipe.parse_value(text, without_marks)
