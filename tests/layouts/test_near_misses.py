"""Replies that almost follow the form of a text layout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
from helpers.layouts import TEXT_LAYOUTS
from helpers.odd_texts import odd_texts, outputs_spec
from helpers.time_limit import time_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.layouts import LayoutError, layout_named, layout_names
from lmpipe.layouts.parse_values import read_value
from lmpipe.layouts.text_values import trim
from lmpipe.signatures.signature import Input, Output, Signature, spec_of

chat = layout_named("chat")

TWO = {"patient_name": "Ada", "age": "36"}
two_outputs = outputs_spec(patient_name=str, age=int)
report = outputs_spec(report=str)


class Reported(Signature):
    """Report."""

    question: str = Input()
    report: str = Output()
    more: str | None = Output()


optional_details = outputs_spec(order=str | None, product=str | None, amount=float | None)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[[order]]FH-1[[product]]Dry bag[[amount]]12", ("FH-1", "Dry bag", "12")),
        ("[[order]]\nFH-1[[product]]Dry bag [[amount]] 12", ("FH-1", "Dry bag", "12")),
        ("[[order]] None [[product]] None [[amount]] None", (None, None, None)),
        ("[[order]]FH-1[[product]]Dry bag", ("FH-1", "Dry bag", None)),
        ("[[order]]\nFH-1\n\n[[product]]\nDry bag[[amount]]12", ("FH-1", "Dry bag", "12")),
    ],
)
def test_markers_inside_a_line_are_read_where_outputs_may_be_left_out(
    text: str, values: tuple[Any, ...]
) -> None:
    found = chat.read(optional_details, text).values
    assert tuple(found.get(name) for name in optional_details.output_names) == values


def test_a_marker_that_has_its_own_line_is_text_inside_another() -> None:
    text = "[[order]]\nsee [[product]] below\n\n[[product]]\nDry bag"
    assert chat.read(optional_details, text).values == {
        "order": "see [[product]] below",
        "product": "Dry bag",
    }


@pytest.mark.parametrize(
    "order",
    [
        "[[product]]\nwith a marker for its first line",
        "```\nx [[product]] y\n```",
        "```\nx [[product]] y\n```\n\nand ```[[amount]]```",
        "fill in `[[product]]` below",
        "[[amount]]\n\n\\[[product]]",
    ],
)
def test_markers_that_are_escaped_or_stand_in_code_are_text(order: str) -> None:
    written = chat.assistant(optional_details, {"order": order})
    assert chat.read(optional_details, written).values == {"order": order}


@pytest.mark.parametrize("reply", ["[[report]]\nA[[more]]B", "[[report]]A[[more]]B"])
def test_a_reply_with_markers_inside_a_line_ends_at_another_question(reply: str) -> None:
    text = f"{reply}\n\n[[question]]\nWhat is next?"
    assert chat.read(spec_of(Reported), text).values == {"report": "A", "more": "B"}


_LINES_OF_TEXT = [
    *("", "x", "```", "    code", "[[order]]", "[[product]]", "\\[[product]]", "\\\\[[amount]] "),
    *("`[[product]]`", "see `[[amount]]` here", "# order", "[[", "]]"),
]


@given(st.lists(st.sampled_from(_LINES_OF_TEXT), min_size=1, max_size=8))
def test_a_text_comes_back_whole_where_other_outputs_are_left_out(lines: list[str]) -> None:
    order = trim("x\n" + "\n".join(lines))
    written = chat.assistant(optional_details, {"order": order})
    assert chat.read(optional_details, written).values == {"order": order}


@pytest.mark.parametrize("name", ["chat", "plain"])
@pytest.mark.parametrize(
    "text",
    [
        "[[patient_name]]\nAda\n[[age]]\n36",
        "[[Patient Name]]\nAda\n\n[[Age]]\n36",
        "[[patient_name]] Ada\n[[age]] 36",
        "[[patient_name]: Ada\n[[age]: 36",
        "[[patient_name\nAda\n\n[[age\n36",
        "[[ ## patient_name ## ]]\nAda\n\n[[ ## age ## ]]\n36\n\n[[ ## completed ## ]]",
        "## patient_name\nAda\n\n## age\n36",
        "## Patient Name\nAda\n\n## Age\n36",
        "### Patient-Name:\nAda\n\n### Age:\n36",
        "# patient_name: Ada\n# age: 36",
        "## **Patient name**\nAda\n\n## **Age**\n36",
        "**patient_name**\nAda\n\n**age**\n36",
        "**Patient name:** Ada\n**Age:** 36",
        "**Patient name**: Ada\n**Age**: 36",
        "patient_name: Ada\nage: 36",
        "- Patient name: Ada\n- Age: 36",
        "Sure!\n\n## patient_name\nAda\n\n## age\n36",
        "```\n[[patient_name]]\nAda\n\n[[age]]\n36\n```",
        '{"patient_name": "Ada", "age": "36"}',
        '```json\n{"patient_name": "Ada", "age": "36"}\n```',
        'Here it is: {"patient_name": "Ada", "age": "36"}',
        "<patient_name>Ada</patient_name>\n<age>\n36\n</age>",
    ],
)
def test_a_near_miss_of_the_form_is_read_where_one_reading_is_possible(
    name: str, text: str
) -> None:
    assert layout_named(name).read(two_outputs, text).values == TWO


@pytest.mark.parametrize(
    "text",
    [
        "[[patient_name]]\nAda\n\n## age\n36",
        "Ada\n\n[[age]]\n36",
        "Ada\n\n**Age:** 36",
        "Ada [[age]]36",
        "[[patient_name]]\nAda [[age]] 36",
        "The name is [[patient_name]] Ada [[age]] 36",
        "Ada\nAge: 36",
        "```\n[[age]]\n36\n\n[[patient_name]]\nAda\n```",
    ],
)
def test_a_reply_with_some_markers_is_read_where_one_reading_is_possible(text: str) -> None:
    assert chat.read(two_outputs, text).values == TWO


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Paris", "Paris"),
        ("Paris.\n\nIt is big.", "Paris.\n\nIt is big."),
        ("## answer: Paris", "Paris"),
        ("**answer** \nParis", "Paris"),
        ("Answer: Paris", "Paris"),
        ("Sure!\n\n[[answer]]\nParis", "Paris"),
        ("Sure!\n\n## answer\nParis", "Paris"),
        ('{"answer": "Paris"}', "Paris"),
        ("The city [[1]] of {x}: Paris", "The city [[1]] of {x}: Paris"),
        ("[[answer]]\n\n[[answer]]\nParis", "Paris"),
        ("[[Paris]]", "Paris"),
        ("<answer>\nParis\n</answer>", "Paris"),
        ("<answer>Paris</answer> it is", "<answer>Paris</answer> it is"),
        ("[[answer]]\n<answer>Paris</answer>", "<answer>Paris</answer>"),
    ],
)
def test_a_single_text_is_read_with_or_without_a_label(text: str, value: str) -> None:
    assert chat.read(outputs_spec(answer=str), text).values == {"answer": value}


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "42", "42"),
        (Literal["billing", "sales"], "billing", "billing"),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, int], '{"x": 1}', {"x": 1}),
        (dict[str, int], '{"answer": {"x": 1}}', {"x": 1}),
        (list[list[int]], "[[1, 2]]", [[1, 2]]),
    ],
)
def test_a_bare_value_of_a_single_output_is_read(annotation: Any, text: str, value: Any) -> None:
    assert chat.read(outputs_spec(answer=annotation), text).values == {"answer": value}


@pytest.mark.parametrize(
    "body",
    [
        "# Report\n\nAll fine.",
        "## Report\n\nAll fine.",
        "REPORT: fine",
        "**Report**\n\nAll fine.",
        "```python\n# Report\nx = 1\n```",
        "Report: fine\nreport: again",
        "Before.\n\n### report\nAfter.",
    ],
)
@pytest.mark.parametrize("marker", ["[[report]]", "## report"])
def test_a_heading_inside_a_value_is_not_taken_for_a_marker(marker: str, body: str) -> None:
    assert chat.read(report, f"{marker}\n{body}").values == {"report": body}


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
def test_a_comment_in_a_code_fence_is_not_taken_for_a_marker(fence: str) -> None:
    spec = outputs_spec(solution=str, notes=str)
    code = f"{fence}python\n# Solution\n## notes\n# notes\nx = 1\n{fence}"
    for text in (f"## solution\n{code}\n\n## notes\nnone", f"# Solution\n{code}\n# Notes\nnone"):
        assert chat.read(spec, text).values == {"solution": code, "notes": "none"}


@pytest.mark.parametrize(
    "code", ["```python\n# report\nx = 1\n```", "```yaml\nreport: 5\nname: x\n```"]
)
def test_a_reply_that_is_code_keeps_its_fence_and_its_first_comment(code: str) -> None:
    assert chat.read(report, code).values == {"report": code}


def test_a_question_that_follows_the_answer_is_not_part_of_it() -> None:
    again = "[[question]]\nAnd then?"
    for text in (
        f"[[report]]\nAll fine.\n\n{again}",
        f"[[report]]\nAll fine.\n\n{again}\n\n[[report]]\nMore.",
        f"{again}\n\n[[report]]\nAll fine.",
    ):
        assert chat.read(report, text).values == {"report": "All fine."}
        assert {name: part.text for name, part in chat.partial(report, text).items()} == {
            "report": "All fine."
        }


def test_a_question_is_not_part_of_an_answer_without_a_marker() -> None:
    again = "[[question]]\nAnd then?"
    assert chat.read(report, f"All fine.\n\n{again}").values == {"report": "All fine."}
    with pytest.raises(LayoutError, match="lacks 'report'"):
        chat.read(report, again)


def test_a_label_that_is_repeated_inside_a_plain_value_is_text() -> None:
    spec, plain = outputs_spec(title=str, summary=str), layout_named("plain")
    found = plain.read(spec, "Title: X\nSummary: a\nTitle: again").values
    assert found == {"title": "X", "summary": "a\nTitle: again"}


def test_a_form_that_is_written_twice_is_read_once() -> None:
    spec = outputs_spec(title=str, summary=str)
    for name, form in (
        ("plain", "Title: X\nSummary: a"),
        ("chat", "[[title]]\nX\n\n[[summary]]\na"),
        ("chat", "## title\nX\n\n## summary\na"),
    ):
        found = layout_named(name).read(spec, f"{form}\n\n{form}").values
        assert found == {"title": "X", "summary": "a"}


@pytest.mark.parametrize(
    "text",
    [
        "Well.\n\n# Report\n\nAll fine.",
        "Well.\nReport: all fine.",
        "Well.\n**Report:** all fine.",
    ],
)
def test_a_reply_with_two_readings_is_refused(text: str) -> None:
    with pytest.raises(LayoutError) as raised:
        chat.read(report, text)
    assert str(raised.value) == (
        "the reply can be read in more than one way: "
        "write the marker [[report]] alone on its line, with the value below it"
    )


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "'patient_name', 'age'"),
        ("Ada", "'patient_name', 'age'"),
        ("[[patient_name]]\nAda", "'age'"),
        ("## patient_name\nAda", "'age'"),
        ("[[age]]\n36", "'patient_name'"),
    ],
)
def test_the_error_says_what_is_missing_and_what_was_expected(text: str, missing: str) -> None:
    with pytest.raises(LayoutError) as raised:
        chat.read(two_outputs, text)
    assert str(raised.value) == (
        f"the reply lacks {missing}: write the markers [[patient_name]], [[age]], each alone on "
        "its line, with its value below it"
    )


def test_an_output_with_a_default_may_be_missing_among_near_misses() -> None:
    class Lenient(Signature):
        question: str = Input()
        answer: str = Output()
        note: str = Output(default="")

    for text in ("## Answer\nx", "[[answer]]\nx", "Sure!\n\n**Answer:** x", '{"answer": "x"}'):
        assert chat.read(spec_of(Lenient), text).values == {"answer": "x"}
    with pytest.raises(LayoutError, match="lacks 'answer'"):
        chat.read(spec_of(Lenient), "I cannot do that.")


@settings(max_examples=200, deadline=None)
@given(odd_texts)
def test_any_text_is_read_or_refused_without_another_error(text: str) -> None:
    for name in layout_names():
        for spec in (two_outputs, report, outputs_spec(a=str, b=dict[str, int])):
            with contextlib.suppress(LayoutError):
                layout_named(name).read(spec, text)


# --- the time of reading

_UNITS = [
    *(" ", "\t", "\n", "#", "# ", "[", "[[", "]", "*", "**", ":", "`", "```\n", "~", "\\"),
    *("\\[[a]]\n", "[[a]]\n", "[[a]] ", "## a\n", "## a ", "**a", "a: ", "a: x\n", "-", "- "),
    *("1", "1,", ",", ".", "{", "}", "{}", "[]", '"', '\\"', '{"a":', '"a":1,', "e", "_"),
    *("\r\n", "\r", "null ", "(", "é", "<", "<a>", "</a>\n", "<a> ", "\n<a>\n", "<![CDATA["),
]


FRAMES = [("", ""), ("[[a]]\n", "x"), ("## a", "x"), ('{"a": "', '"}'), ("<a>\n", "\n</a>")]

# A reader that backtracks takes seconds for a text of this length, and minutes for a long one.
_LENGTH, _SECONDS = 20_000, 2.0
_LONG_LENGTH, _LONG_SECONDS = 100_000, 30.0
_LONG_UNITS = ("\n", "[[a]]\n", "{")


def _repeated(unit: str, length: int = _LENGTH) -> str:
    return unit * (length // len(unit))


def _read_or_refuse(read: Callable[[], object]) -> None:
    with contextlib.suppress(LayoutError):
        read()


@pytest.mark.parametrize("names", [["a"], ["a", "b"]], ids=len)
@pytest.mark.parametrize("name", TEXT_LAYOUTS)
def test_a_reply_of_any_repeated_text_is_read_in_linear_time(name: str, names: list[str]) -> None:
    layout, spec = layout_named(name), outputs_spec(**dict.fromkeys(names, str))
    for unit in _UNITS:
        for start, end in FRAMES:
            text = start + _repeated(unit) + end
            with time_limit(_SECONDS):
                _read_or_refuse(partial(layout.read, spec, text))
                layout.partial(spec, text)


@pytest.mark.parametrize("unit", _LONG_UNITS)
@pytest.mark.parametrize("name", TEXT_LAYOUTS)
def test_a_long_reply_of_repeated_text_is_read_in_linear_time(name: str, unit: str) -> None:
    layout, spec = layout_named(name), outputs_spec(a=str, b=str)
    text = _repeated(unit, _LONG_LENGTH)
    with time_limit(_LONG_SECONDS):
        _read_or_refuse(partial(layout.read, spec, text))
        layout.partial(spec, text)


@pytest.mark.parametrize("kind", [str, str | None, int, float, bool, Literal["a", "b"], list[int]])
def test_a_value_of_any_repeated_text_is_read_in_linear_time(kind: Any) -> None:
    field = outputs_spec(a=kind).outputs[0]
    for unit in _UNITS:
        with time_limit(_SECONDS):
            _read_or_refuse(partial(read_value, field, _repeated(unit)))
    with time_limit(_LONG_SECONDS):
        for unit in _LONG_UNITS:
            _read_or_refuse(partial(read_value, field, _repeated(unit, _LONG_LENGTH)))


def test_the_beginning_of_a_json_object_is_read_in_linear_time() -> None:
    layout, spec = layout_named("json"), outputs_spec(a=str, b=list[str])
    for unit in _UNITS:
        for start, end in FRAMES:
            with time_limit(_SECONDS):
                layout.partial(spec, start + _repeated(unit) + end)
    with time_limit(_LONG_SECONDS):
        for start, end in FRAMES:
            layout.partial(spec, start + _repeated('"a":1,', _LONG_LENGTH) + end)
