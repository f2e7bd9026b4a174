"""The answers of a run: which are known, and which question is open again."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lmpipe.state.answers import Pass

PREDICTOR, OTHER = object(), object()


def answer(current: Pass, asked: object = PREDICTOR, result: Any = "a", **inputs: Any) -> Any:
    """Ask a question, and give it this result if it is open."""
    found = current.question(asked, inputs)
    if found.open:
        found.result, found.reply = result, f"reply {result}"
        current.add(found)
    return found


def test_an_equal_question_is_known_in_the_next_pass() -> None:
    first = Pass("run")
    known = answer(first, text="x")
    second = Pass("run", None, first.without({}))
    assert second.question(PREDICTOR, {"text": "x"}) is known
    assert second.answers == [known]


def test_another_predictor_input_or_sample_is_an_open_question() -> None:
    first = Pass("run")
    answer(first, text="x")
    second = Pass("run", None, first.without({}))
    assert second.question(OTHER, {"text": "x"}).open
    assert second.question(PREDICTOR, {"text": "y"}).open
    assert second.question(PREDICTOR, {"text": "x"}, 1).open


def test_a_failed_answer_is_open_again_with_what_was_said() -> None:
    first = Pass("run")
    failed = answer(first, text="x")
    second = Pass("run", None, first.without({id(failed): "Be short."}))
    again = second.question(PREDICTOR, {"text": "x"})
    assert again.open
    assert [(back.reply, back.feedback) for back in again.earlier] == [("reply a", "Be short.")]


def test_each_answer_is_used_once_in_a_pass() -> None:
    first = Pass("run")
    found = [answer(first, result=number, text="x") for number in range(2)]
    second = Pass("run", None, first.without({}))
    again = [second.question(PREDICTOR, {"text": "x"}) for _ in range(3)]
    assert again[:2] == found
    assert again[2].open


def test_the_pass_around_knows_answers_too() -> None:
    around = Pass("outer")
    known = answer(around, text="x")
    next_around = Pass("outer", None, around.without({}))
    inner = Pass("inner", next_around)
    assert inner.question(PREDICTOR, {"text": "x"}) is known
    assert inner.answers == [known]


def test_the_latest_answer_is_found_in_the_innermost_pass_first() -> None:
    around = Pass("outer")
    outer = answer(around, text="x")
    inner = Pass("inner", around)
    assert inner.latest(lambda _: True) == (around, outer)
    own = answer(inner, text="y")
    assert inner.latest(lambda _: True) == (inner, own)
    assert inner.latest(lambda item: item.result == "none") is None


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 2)), max_size=8))
def test_a_pass_that_asks_the_same_gets_the_same_answers(asked: list[tuple[str, int]]) -> None:
    first = Pass("run")
    for number, (text, sample) in enumerate(asked):
        found = first.question(PREDICTOR, {"text": text}, sample)
        found.result = number
        first.add(found)
    second = Pass("run", None, first.without({}))
    again = [second.question(PREDICTOR, {"text": text}, sample).result for text, sample in asked]
    assert again == list(range(len(asked)))
    assert second.known == []
