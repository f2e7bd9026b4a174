"""Learn from two runs of one example of which one went well and the other badly."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.events import Rollout
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.draw_demos import bootstrapped_demos, distinct_demos
from lmpipe.optimize.shared.proposer_text import clean_instruction, describe_rows, with_instruction
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import ProgramState


class WriteAdvice(Signature):
    """Say in one or two sentences what one step of a program should do from now on.

    The same input went well once and badly once. Find out what made the difference, and put it as
    general advice for inputs of this kind, such as "If …, then …". If there is no run that went
    well, find out from the other one what should have been done. Do not repeat the input, and give
    no single answer away.
    """

    instruction: str = Input(desc="what the step is told now")
    good: str = Input(desc="the run that went well")
    bad: str = Input(desc="the run that went badly")
    advice: str = Output(desc="the advice, one or two sentences")


@dataclass(frozen=True)
class Contrast:
    """The best and the worst run of one example.

    Args:
        lead: the score of the best run above the mean of all.
    """

    good: Row
    bad: Row
    lead: float = 0.0

    @property
    def spread(self) -> float:
        """The difference of their scores."""
        return self.good.score.value - self.bad.score.value

    @property
    def differs(self) -> bool:
        """Whether one of the runs scored better, or failed fewer checks with the same score."""
        return self.spread > 0 or self.bad.checks.failed > self.good.checks.failed

    @staticmethod
    def of(rows: Sequence[Row]) -> Contrast:
        """Choose the best and the worst run; of equal scores, by the checks that they failed."""
        ranked = [(row.score.value, -row.checks.failed) for row in rows]
        best, worst = ranked.index(max(ranked)), ranked.index(min(ranked))
        mean = fmean(row.score.value for row in rows)
        return Contrast(rows[best], rows[worst], rows[best].score.value - mean)


def add_demonstration(
    task: Task, base: ProgramState, good: Row, rng: random.Random, *, most: int
) -> ProgramState:
    """Return a state that shows a run as its newest demonstration.

    A predictor that already shows `most` drops its oldest one. `rng` chooses a call of each
    predictor that was called several times.
    """
    run = bootstrapped_demos([Rollout(good, 0, passed=True)], rng)
    state = base
    for path, demos in run.items():
        if path in task.predictors:
            kept = distinct_demos([*demos, *reversed(base[path].demos)])[:most]
            state = state.update({path: base[path].replace(demos=tuple(reversed(kept)))})
    return state


async def add_advice(task: Task, base: ProgramState, contrast: Contrast) -> ProgramState:
    """Return a state with advice added to the instruction of every predictor that was called.

    If the runs are equally bad, the proposer is shown one of them, as the run that went badly.
    """
    good = [contrast.good] if contrast.differs else []
    called = [path for path in task.predictors if contrast.bad.trace.of(path)]
    answers = await task.ask_all(
        WriteAdvice,
        [
            {
                "instruction": base[path].instruction,
                "good": describe_rows(good, path, task.predictors),
                "bad": describe_rows([contrast.bad], path, task.predictors),
            }
            for path in called
        ],
    )
    state = base
    for path, answer in zip(called, answers, strict=True):
        if answer and (advice := clean_instruction(answer.advice)):
            old = base[path].instruction
            if advice not in old:
                state = with_instruction(state, path, clean_instruction(f"{old}\n{advice}"))
    return state
