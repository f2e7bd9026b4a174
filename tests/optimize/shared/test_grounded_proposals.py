"""Grounded proposals: what a proposer is shown, and which of its answers are kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import orjson
import pytest
from helpers import tasks
from helpers.world import NameColour, things

import lmpipe
from lmpipe.evaluation.results import Row
from lmpipe.lm.concurrency import loop
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.grounded_proposals import TIPS, propose_instructions, summarize_data


def make_task(answer: Callable[[Request], str], *, train: int = 40) -> Task:
    return tasks.make_task(proposer=lmpipe.ScriptedLM(answer, name="proposer"), train=things(train))


class InTurn:
    """A proposer that replies with texts in turn and records its questions."""

    def __init__(self, field: str, texts: Sequence[str]) -> None:
        self.field, self.texts = field, list(texts)
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: Request) -> str:
        self.asked.append(orjson.loads(request.messages[1].content))
        text = self.texts[(len(self.asked) - 1) % len(self.texts)]
        return text if text == "{" else orjson.dumps({self.field: text}).decode()


def summary_of(proposer: InTurn, *, train: int = 40) -> str:
    return loop.run_sync(summarize_data(make_task(proposer, train=train), random.Random(0)))


def propose_with(
    proposer: InTurn, *, count: int, change: Callable[[Row], Row] = lambda row: row
) -> list[str]:
    task = make_task(proposer)

    async def propose() -> list[str]:
        (tried,) = await task.trial([task.start], task.train[:12])
        rows = [change(row) for row in tried.rows]
        return await propose_instructions(
            task,
            "self",
            count,
            state=task.start,
            tried={"Guess.": 0.25, task.start["self"].instruction: 0.5},
            data="Things.",
            rows=rows,
            rng=random.Random(0),
        )

    return loop.run_sync(propose())


def test_a_summary_has_a_line_for_each_batch() -> None:
    proposer = InTurn("summary", ["Things with\na number.", "Three colours.", "One fact each."])
    lines = summary_of(proposer).splitlines()
    assert sorted(lines) == ["One fact each.", "Things with a number.", "Three colours."]


def test_no_example_is_in_two_batches() -> None:
    proposer = InTurn("summary", ["Things."])
    summary_of(proposer, train=20)
    named = [line for asked in proposer.asked for line in asked["examples"].splitlines()]
    assert len(named) == len(set(named)) == 20


def test_equal_summaries_are_merged() -> None:
    assert summary_of(InTurn("summary", ["Things."])) == "Things."


def test_a_long_summary_is_whole() -> None:
    words = ("long " * 500).strip()
    assert words in summary_of(InTurn("summary", [words]))


@pytest.mark.parametrize("text", ["{", "  "])
def test_without_a_usable_answer_the_summary_is_empty(text: str) -> None:
    assert summary_of(InTurn("summary", [text])) == ""


def test_empty_known_and_repeated_instructions_are_dropped() -> None:
    own = str(NameColour.__doc__)
    proposer = InTurn("instruction", ["One.", "  ", own, 'Instruction: "One."', "Two."])
    assert sorted(propose_with(proposer, count=5)) == ["One.", "Two."]


def test_an_instruction_that_was_tried_is_not_proposed_again() -> None:
    assert propose_with(InTurn("instruction", ["Guess.", "One."]), count=2) == ["One."]


def test_a_proposal_is_shown_what_was_tried_the_best_last() -> None:
    proposer = InTurn("instruction", ["One."])
    propose_with(proposer, count=1)
    (asked,) = proposer.asked
    assert asked["tried"] == f"score 25:\nGuess.\n\nscore 50:\n{NameColour.__doc__}"


def test_unparseable_answers_are_dropped() -> None:
    assert propose_with(InTurn("instruction", ["{"]), count=3) == []


def test_each_proposal_gets_another_tip_until_all_are_used() -> None:
    proposer = InTurn("instruction", ["One."])
    propose_with(proposer, count=len(TIPS))
    assert {asked["tip"] for asked in proposer.asked} == set(TIPS)


def test_failed_runs_are_shown_before_others() -> None:
    def judge(row: Row) -> Row:
        return replace(row, score=lmpipe.Score(float(row.index >= 8)))

    proposer = InTurn("instruction", ["One."])
    propose_with(proposer, count=1, change=judge)
    (asked,) = proposer.asked
    scores = [line for line in asked["runs"].splitlines() if line.startswith("score: ")]
    assert scores == ["score: 0.00"] * 4


def test_runs_that_do_not_fit_are_left_out() -> None:
    def widen(row: Row) -> Row:
        (step,) = row.trace.steps
        inputs = {f"field {number}": "long " * 100 for number in range(40)}
        return replace(row, trace=replace(row.trace, steps=[replace(step, inputs=inputs)]))

    proposer = InTurn("instruction", ["One."])
    propose_with(proposer, count=1, change=widen)
    assert "long " * 99 in proposer.asked[0]["runs"]
    assert "left out: there is no room" in proposer.asked[0]["runs"]


def test_a_proposal_needs_neither_runs_nor_a_summary() -> None:
    proposer = InTurn("instruction", ["One."])

    async def propose() -> list[str]:
        task = make_task(proposer)
        return await propose_instructions(
            task, "self", 1, state=task.start, tried={}, data="", rows=[], rng=random.Random(0)
        )

    assert loop.run_sync(propose()) == ["One."]
    assert (proposer.asked[0]["data"], proposer.asked[0]["runs"]) == ("unknown", "none")
