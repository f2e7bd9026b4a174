"""Questions of any world are proven, and their splits share nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs.worlds.build import build_world
from programs.worlds.conversations import write_conversations
from programs.worlds.facts import FactIndex
from programs.worlds.judgements import write_judgements
from programs.worlds.passages import Passage, read_passage, write_passages
from programs.worlds.questions import (
    Kind,
    Question,
    QuestionWriter,
    split_questions,
)
from programs.worlds.solver import solve

KINDS: tuple[Kind, ...] = ("two hops", "three hops", "comparison", "years between")
SIZES: dict[str, dict[Kind, int]] = {"one": {"two hops": 30}, "other": {"two hops": 20}}


def written(seed: int) -> tuple[QuestionWriter, list[Passage]]:
    world = build_world(seed)
    passages = write_passages(world, seed)
    return QuestionWriter(world, passages, seed), passages


def some(seed: int, kind: Kind) -> Iterator[Question]:
    return islice(written(seed)[0].of_kind(kind), 40)


@given(st.integers(0, 2**32), st.sampled_from(KINDS))
@settings(max_examples=8)
def test_every_answer_follows_from_its_supporting_passages_alone(seed: int, kind: Kind) -> None:
    writer, passages = written(seed)
    texts = {passage.id: passage for passage in passages}
    questions = list(islice(writer.of_kind(kind), 40))
    assert questions
    for question in questions:
        facts = [fact for one in question.support for fact in read_passage(texts[one])]
        assert solve(question.proof, FactIndex(facts)).answer == question.answer


@given(st.integers(0, 2**32))
@settings(max_examples=4)
def test_splits_share_no_fact_and_no_start(seed: int) -> None:
    splits = split_questions(written(seed)[0], SIZES, seed)
    assert {name: len(found) for name, found in splits.items()} == {"one": 30, "other": 20}
    one, other = ({mark for q in found for mark in q.marks} for found in splits.values())
    assert not one & other


def test_a_split_that_is_too_large_for_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="too few questions of the kind 'comparison'"):
        split_questions(written(1)[0], {"all": {"comparison": 5000}}, 1)


def test_a_conversation_ends_in_the_answer_of_its_question() -> None:
    world = build_world(1)
    questions = list(some(1, "three hops"))
    rows = write_conversations(world, questions)
    assert rows
    answers = {question.answer for question in questions}
    for row in rows:
        assert len(row["history"]) == 2
        assert row["answer"] in answers
        assert row["history"][-1]["answer"] in row["standalone"]


def test_wrong_judgements_commit_to_another_thing_of_the_same_kind_or_to_none() -> None:
    world = build_world(1)
    rows = write_judgements(world, list(some(1, "two hops")), 32, 1)
    for row in rows:
        committed = row["candidate"].rstrip(".").endswith(row["reference"])
        if not row["correct"]:
            assert not committed
