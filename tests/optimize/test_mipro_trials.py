"""The trials of MIPROv2: which point the search goes on from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from helpers.world import NameColour

import lmpipe
from lmpipe.lm.concurrency.loop import run_sync
from lmpipe.optimize.mipro_space import Space
from lmpipe.optimize.mipro_trials import Trials
from lmpipe.optimize.shared.demo_sets import DemoChoice

INSTRUCTION = "instruction of self"


def scored(*, score: float, weighted: float, complete: bool) -> Any:
    return SimpleNamespace(score=score, weighted_score=weighted, complete=complete)


def test_the_luck_of_few_rows_counts_no_more_than_the_best_weighted_score() -> None:
    raced = [
        scored(score=0.9, weighted=0.5, complete=False),
        scored(score=0.8, weighted=0.4, complete=True),
    ]

    async def race(entries: Any, *, halve: bool) -> list[Any]:
        return raced

    task: Any = SimpleNamespace(
        candidates=(), race=race, estimate=lambda candidate: candidate.weighted_score
    )
    state = lmpipe.Predict(NameColour).state()
    texts = {"self": ["as declared", "a lucky one", "a good one"]}
    trials = Trials(task, Space(state, texts, {"self": [DemoChoice("as declared")]}, (), ()))
    run_sync(trials.race([{INSTRUCTION: 1}, {INSTRUCTION: 2}], []))
    assert trials.best() == {INSTRUCTION: 2}
