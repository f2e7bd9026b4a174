"""Grounding: what a proposer is shown, and what of its answers is kept."""

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


class Says:
    """A proposer that says one text after the other, and remembers what it was asked."""

    def __init__(self, field: str, texts: Sequence[str]) -> None:
        self.field, self.texts = field, list(texts)
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: Request) -> str:
        self.asked.append(orjson.loads(request.messages[1].content))
        text = self.texts[(len(self.asked) - 1) % len(self.texts)]
        return text if text == "{" else orjson.dumps({self.field: text}).decode()


def summary_of(says: Says, *, train: int = 40) -> str:
    return loop.run_sync(summarize_data(make_task(says, train=train), random.Random(0)))


def proposed(
    says: Says, *, count: int, change: Callable[[Row], Row] = lambda row: row
) -> list[str]:
    task = make_task(says)

    async def propose() -> list[str]:
        (tried,) = await task.trial([task.start], task.train[:12])
        rows = [change(row) for row in tried.rows]
        return await propose_instructions(
            task, "self", count, data="Things.", rows=rows, rng=random.Random(0)
        )

    return loop.run_sync(propose())


def test_a_summary_has_a_line_for_each_batch() -> None:
    says = Says("summary", ["Things with\na number.", "Three colours.", "One fact each."])
    lines = summary_of(says).splitlines()
    assert sorted(lines) == ["One fact each.", "Things with a number.", "Three colours."]


def test_no_example_is_in_two_batches() -> None:
    says = Says("summary", ["Things."])
    summary_of(says, train=20)
    named = [line for asked in says.asked for line in asked["examples"].splitlines()]
    assert len(named) == len(set(named)) == 20


def test_equal_summaries_are_one_line() -> None:
    assert summary_of(Says("summary", ["Things."])) == "Things."


def test_a_long_summary_is_cut() -> None:
    assert len(summary_of(Says("summary", ["long " * 500]))) == 400


@pytest.mark.parametrize("text", ["{", "  "])
def test_there_may_be_no_summary(text: str) -> None:
    assert summary_of(Says("summary", [text])) == ""


def test_what_is_no_new_instruction_is_dropped() -> None:
    own = str(NameColour.__doc__)
    says = Says("instruction", ["One.", "  ", own, 'Instruction: "One."', "Two."])
    assert sorted(proposed(says, count=5)) == ["One.", "Two."]


def test_answers_that_cannot_be_read_are_dropped() -> None:
    assert proposed(Says("instruction", ["{"]), count=3) == []


def test_each_proposal_has_another_tip_while_there_are_any() -> None:
    says = Says("instruction", ["One."])
    proposed(says, count=len(TIPS))
    assert {asked["tip"] for asked in says.asked} == set(TIPS)


def test_runs_that_went_wrong_are_shown_before_others() -> None:
    def judge(row: Row) -> Row:
        return replace(row, score=lmpipe.Score(float(row.index >= 8)))

    says = Says("instruction", ["One."])
    proposed(says, count=1, change=judge)
    (asked,) = says.asked
    scores = [line for line in asked["runs"].splitlines() if line.startswith("score: ")]
    assert scores == ["score: 0.00"] * 4


def test_long_runs_are_cut() -> None:
    def widen(row: Row) -> Row:
        (step,) = row.trace.steps
        inputs = {f"field {number}": "long " * 100 for number in range(40)}
        return replace(row, trace=replace(row.trace, steps=[replace(step, inputs=inputs)]))

    says = Says("instruction", ["One."])
    proposed(says, count=1, change=widen)
    assert len(says.asked[0]["runs"]) == 4000


def test_without_runs_or_a_summary_it_asks_all_the_same() -> None:
    says = Says("instruction", ["One."])

    async def propose() -> list[str]:
        task = make_task(says)
        return await propose_instructions(task, "self", 1, data="", rows=[], rng=random.Random(0))

    assert loop.run_sync(propose()) == ["One."]
    assert (says.asked[0]["data"], says.asked[0]["runs"]) == ("unknown", "none")
