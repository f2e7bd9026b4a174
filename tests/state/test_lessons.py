"""Lessons: what says the same, and how deltas are merged without losing anything."""

from __future__ import annotations

import random
from collections import Counter

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.state.lessons import (
    Lesson,
    LessonDelta,
    lesson_key,
    may_say_the_same,
    merge_deltas,
    prune,
    texts_of,
    with_lessons,
)

# Few words, so that lessons often say the same.
texts = st.lists(
    st.sampled_from(["Refunds", "refunds", "go", "to", "the", "billing", "50", "500", "not", "."]),
    min_size=1,
    max_size=4,
).map(" ".join)
lessons = st.builds(
    Lesson, text=texts, helpful=st.integers(0, 3), harmful=st.integers(0, 3)
)  # fmt: skip
known = st.lists(lessons, max_size=4, unique_by=lambda lesson: lesson.key).map(tuple)
some_texts = st.lists(texts, max_size=3).map(tuple)
deltas = st.lists(
    st.builds(LessonDelta, added=some_texts, helpful=some_texts, harmful=some_texts), max_size=4
)


def counts(merged: tuple[Lesson, ...]) -> dict[tuple[str, ...], tuple[int, int]]:
    return {lesson.key: (lesson.helpful, lesson.harmful) for lesson in merged}


@given(known, deltas)
def test_a_merge_loses_no_lesson(before: tuple[Lesson, ...], given: list[LessonDelta]) -> None:
    merged = merge_deltas(before, given)
    assert texts_of(merged)[: len(before)] == texts_of(before)
    added = {lesson_key(text) for delta in given for text in delta.added}
    assert {lesson.key for lesson in merged} == added | {lesson.key for lesson in before}


@given(known, deltas)
def test_a_merge_keeps_one_lesson_of_those_that_say_the_same(
    before: tuple[Lesson, ...], given: list[LessonDelta]
) -> None:
    assert max(Counter(one.key for one in merge_deltas(before, given)).values(), default=1) == 1


@given(known, deltas, st.randoms())
def test_lessons_and_counts_do_not_depend_on_the_order_of_deltas(
    before: tuple[Lesson, ...], given: list[LessonDelta], rng: random.Random
) -> None:
    shuffled = rng.sample(given, len(given))
    assert counts(merge_deltas(before, given)) == counts(merge_deltas(before, shuffled))


@given(known, deltas)
def test_each_delta_counts_a_lesson_once(
    before: tuple[Lesson, ...], given: list[LessonDelta]
) -> None:
    merged = merge_deltas(before, given)
    for lesson in merged:
        old = next((one for one in before if one.key == lesson.key), Lesson(text="x"))
        helped = sum(lesson.key in map(lesson_key, delta.helpful) for delta in given)
        harmed = sum(lesson.key in map(lesson_key, delta.harmful) for delta in given)
        assert (lesson.helpful, lesson.harmful) == (old.helpful + helped, old.harmful + harmed)


@given(known, deltas)
def test_merging_one_after_the_other_is_merging_at_once(
    before: tuple[Lesson, ...], given: list[LessonDelta]
) -> None:
    # What is counted may be added by another delta: let all be added first.
    before = merge_deltas(before, [LessonDelta(added=one.added) for one in given])
    merged = before
    for delta in given:
        merged = merge_deltas(merged, [delta])
    assert merged == merge_deltas(before, given)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Refunds go to billing.", "refunds go to billing"),
        ("Always answer in French", "Answer in French!"),
        ("Give the date as `2024-05-01`", "Give a date as 2024-05-01."),
    ],
)
def test_filler_makes_no_difference(one: str, other: str) -> None:
    assert lesson_key(one) == lesson_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Refunds go to billing.", "Refunds do not go to billing."),
        ("Amounts under 50 are small.", "Amounts under 500 are small."),
        ("Write x < 5.", "Write x > 5."),
        ("Put cats before dogs.", "Put dogs before cats."),
        ("Subtract: write -5.", "Subtract: write 5."),
        ("…", "→"),
    ],
)
def test_what_says_something_else_is_kept_apart(one: str, other: str) -> None:
    assert lesson_key(one) != lesson_key(other)


@pytest.mark.parametrize(
    ("one", "other", "may"),
    [
        ("Refunds go to billing.", "Billing handles refunds.", True),
        ("Refunds go to billing.", "Don't send refunds to billing.", False),
        ("Refunds under 50 go to billing.", "Billing handles refunds under 500.", False),
        ("Do not guess the date.", "Never guess a date.", False),
        ("Do not guess the date.", "The date is not to be guessed!", True),
    ],
)
def test_texts_with_other_numbers_or_negations_do_not_say_the_same(
    one: str, other: str, may: bool
) -> None:
    assert may_say_the_same(one, other) is may


def test_a_lesson_in_other_words_is_merged_if_it_is_said_to_be_the_same() -> None:
    old = (Lesson(text="Refunds go to billing.", helpful=1),)
    said = "Billing handles refunds."
    delta = LessonDelta(added=(said,), helpful=(said,))
    merged = merge_deltas(old, [delta], same_as={said: "Refunds go to billing."})
    assert merged == (Lesson(text="Refunds go to billing.", helpful=2),)


def test_a_lesson_that_did_harm_twice_over_is_dropped() -> None:
    kept = Lesson(text="Be brief.", helpful=1, harmful=2)
    dropped = Lesson(text="Be rude.", helpful=1, harmful=3)
    assert prune((dropped, kept)) == (kept,)


def test_above_the_limit_the_least_useful_and_of_these_the_oldest_are_dropped() -> None:
    old, useful, new = Lesson(text="one"), Lesson(text="two", helpful=2), Lesson(text="three")
    assert prune((old, useful, new), 2) == (useful, new)
    assert prune((old, useful, new), 3) == (old, useful, new)


@given(st.lists(lessons).map(tuple), st.integers(1, 5))
def test_pruning_keeps_the_order_and_the_limit(many: tuple[Lesson, ...], most: int) -> None:
    kept = prune(many, most)
    assert len(kept) <= most
    rest = iter(many)
    assert all(any(one is lesson for one in rest) for lesson in kept)


def test_lessons_stand_after_the_instruction_a_line_each() -> None:
    shown = with_lessons("Answer.", [Lesson(text="Be brief.", helpful=3), Lesson(text="a\nb")])
    assert shown == "Answer.\n\nLessons from earlier runs:\n- Be brief.\n- a\n  b"
    assert with_lessons("", [Lesson(text="Be brief.")]).startswith("Lessons from earlier runs:\n")
    assert with_lessons("Answer.", []) == "Answer."


@pytest.mark.parametrize("changes", [{"text": " \n"}, {"helpful": -1}, {"harmful": 1.5}])
def test_a_lesson_has_a_text_and_counts(changes: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError, match=next(iter(changes))):
        Lesson.model_validate({"text": "Be brief.", **changes})
