"""Incomplete replies, and the fast path for complete ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.layouts import Layout, layout_named, layout_names
from lmpipe.layouts import ChatLayout
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
def test_partial_outputs_only_grow(layout: Layout, reasoning: str, answer: str) -> None:
    spec = spec_of(Answer)
    whole = layout.assistant(spec, {"reasoning": reasoning, "answer_text": answer})
    if dict(layout.partial(spec, whole + "\n")) != layout.read(spec, whole).values:
        return  # a value looks like a label, and `read` takes it for one too
    before: dict[str, Any] = {}
    for end in range(len(whole) + 1):
        found = layout.partial(spec, whole[:end])
        assert list(found)[: len(before)] == list(before)
        for name, text in before.items():
            assert found[name].startswith(text)
        before = found


@layouts
@given(text=st.text())
def test_the_beginning_of_any_text_can_be_parsed(layout: Layout, text: str) -> None:
    for spec in (spec_of(Answer), spec_of(Bare)):
        assert set(layout.partial(spec, text)) <= set(spec.output_names)


@layouts
def test_text_that_may_become_a_label_is_left_out(layout: Layout) -> None:
    spec = spec_of(Answer)
    whole = layout.assistant(spec, {"reasoning": "because", "answer_text": "so"})
    seen = {layout.partial(spec, whole[:end]).get("reasoning", "") for end in range(len(whole))}
    assert all("because".startswith(text) for text in seen)


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
def test_the_fast_path_reads_the_same_as_the_slow_one(text: str) -> None:
    spec, layout = spec_of(Answer), ChatLayout()
    # A `#` at the end belongs to no marker, and makes the reader take the slow path.
    fast, slow = (_read(layout, spec, reply) for reply in (text, text + "\n#"))
    if fast is not None and slow is not None:
        for name, value in fast.items():
            found = slow[name]
            assert value in (found, found.removesuffix("#").strip())


def _read(layout: Layout, spec: Any, text: str) -> dict[str, Any] | None:
    try:
        return layout.read(spec, text).values
    except ValueError:
        return None
