"""Incomplete replies: what there is of each output while the LM writes."""

from __future__ import annotations

import pytest
from helpers.layouts import TEXT_LAYOUTS
from helpers.odd_texts import kept, odd_texts, outputs_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.layouts import Layout, layout_named
from lmpipe.signatures.signature import Input, Output, Signature, spec_of
from lmpipe.signatures.signature_spec import SignatureSpec


class Answer(Signature):
    """Answer."""

    question: str = Input()
    reasoning: str = Output()
    answer_text: str = Output()


class Bare(Signature):
    """Answer."""

    question: str = Input()
    answer: str = Output()


layouts = pytest.mark.parametrize("layout", [layout_named(name) for name in TEXT_LAYOUTS])


def texts(layout: Layout, spec: SignatureSpec, reply: str) -> dict[str, str]:
    return {name: part.text for name, part in layout.partial(spec, reply).items()}


@layouts
@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_any_text_only_grows_to_the_whole_while_it_is_streamed(
    layout: Layout, names: list[str]
) -> None:
    spec = outputs_spec(**dict.fromkeys(names, str))

    @settings(max_examples=100, deadline=None)
    @given(st.fixed_dictionaries(dict.fromkeys(names, odd_texts)))
    def check(values: dict[str, str]) -> None:
        whole, before = layout.assistant(spec, values), dict[str, str]()
        for end in range(len(whole) + 1):
            found = texts(layout, spec, whole[:end])
            assert list(found)[: len(before)] == list(before)
            assert all(found[name].startswith(text) for name, text in before.items())
            before = found
        written = values if layout.name == "json" else {n: kept(v) for n, v in values.items()}
        assert all(written[name].startswith(text) for name, text in before.items())
        last = names[-1]
        if layout.name in ("json", "chat", "xml"):
            dot = "." if layout.name == "chat" else ""  # a last line, which ends the one before
            found = texts(layout, spec, whole + (dot and "\n" + dot))
            assert found[last].removesuffix(dot).rstrip() == written[last].rstrip()

    check()


@layouts
@given(text=st.text() | odd_texts)
def test_the_beginning_of_any_text_can_be_parsed(layout: Layout, text: str) -> None:
    for spec in (spec_of(Answer), spec_of(Bare)):
        assert set(layout.partial(spec, text)) <= set(spec.output_names)


@layouts
def test_text_that_may_become_a_label_is_left_out(layout: Layout) -> None:
    spec = spec_of(Answer)
    whole = layout.assistant(spec, {"reasoning": "because", "answer_text": "so"})
    seen = {texts(layout, spec, whole[:end]).get("reasoning", "") for end in range(len(whole))}
    assert "because" in seen
    assert all("because".startswith(text) for text in seen)


def test_an_escaped_marker_is_streamed_without_its_backslash() -> None:
    chat, spec = layout_named("chat"), spec_of(Bare)
    seen = [texts(chat, spec, "[[answer]]\n\\[[answer]]\n!"[:end]) for end in range(26)]
    assert {found.get("answer", "") for found in seen} == {"", "[[answer]]", "[[answer]]\n!"}


def test_a_near_miss_of_a_marker_is_streamed() -> None:
    chat, spec = layout_named("chat"), spec_of(Answer)
    assert texts(chat, spec, "## reasoning\nbecause\n\n## answer_text\nso it") == {
        "reasoning": "because",
        "answer_text": "so it",
    }
