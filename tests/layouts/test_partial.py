"""Replies that are still being written, and the quick way to read whole ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.layouts import Layout, layout_named, layout_names
from lmpipe.layouts.text_layouts import ChatLayout
from lmpipe.signatures.signature import Input, Output, Signature, spec_of


class Answer(Signature):
    """Answer."""

    question: str = Input()
    reasoning: str = Output()
    answer_text: str = Output()


class Bare(Signature):
    """Answer."""

    question: str = Input()
    answer: str = Output()


layouts = pytest.mark.parametrize("layout", [layout_named(name) for name in layout_names()])
words = st.text(st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029"), min_size=1)
texts = words.map(str.strip).filter(bool)
lines = texts.map(lambda text: " ".join(text.split())).filter(bool)


@layouts
@given(reasoning=lines, answer=lines)
def test_what_is_told_of_a_reply_only_ever_grows(
    layout: Layout, reasoning: str, answer: str
) -> None:
    spec = spec_of(Answer)
    whole = layout.assistant(spec, {"reasoning": reasoning, "answer_text": answer})
    if dict(layout.partial(spec, whole + "\n")) != layout.read(spec, whole).values:
        return  # a value that looks like a label: the reader, too, takes it for one
    before: dict[str, Any] = {}
    for end in range(len(whole) + 1):
        found = layout.partial(spec, whole[:end])
        assert list(found)[: len(before)] == list(before)
        for name, text in before.items():
            assert found[name].startswith(text)
        before = found


@layouts
@given(text=st.text())
def test_the_beginning_of_any_text_can_be_taken_apart(layout: Layout, text: str) -> None:
    for spec in (spec_of(Answer), spec_of(Bare)):
        assert set(layout.partial(spec, text)) <= set(spec.output_names)


@layouts
def test_what_may_become_a_label_is_not_told(layout: Layout) -> None:
    spec = spec_of(Answer)
    whole = layout.assistant(spec, {"reasoning": "because", "answer_text": "so"})
    told = {layout.partial(spec, whole[:end]).get("reasoning", "") for end in range(len(whole))}
    assert all("because".startswith(text) for text in told)


marks = st.sampled_from(
    [
        "## reasoning\n",
        "## answer_text\n",
        "# answer_text\n",
        "##",
        "#",
        "\n",
        "text",
        "\n\n",
        " ",
        ":",
    ]
)


@given(st.lists(marks).map("".join))
def test_the_quick_way_reads_what_the_thorough_one_does(text: str) -> None:
    spec, layout = spec_of(Answer), ChatLayout()
    # A `#` at the end is no part of any marker, and sends the reader the thorough way.
    quick, thorough = (_read(layout, spec, reply) for reply in (text, text + "\n#"))
    if quick is not None and thorough is not None:
        for name, value in quick.items():
            found = thorough[name]
            assert value in (found, found.removesuffix("#").strip())


def _read(layout: Layout, spec: Any, text: str) -> dict[str, Any] | None:
    try:
        return layout.read(spec, text).values
    except ValueError:
        return None
