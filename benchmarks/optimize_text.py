"""`lmpipe.optimize_text` beside gepa's `optimize_anything` in the rule world; no LM is asked.

    python benchmarks/optimize_text.py                    # a minute
    python benchmarks/optimize_text.py --seeds 2

Both search for the instruction of the student of `rules/world.py`, with the same number of
evaluations and questions to the proposer together: over 60 + 60 rows, or as one task whose score is
the mean over 60 rows and whose feedback is that on three of them.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import fmean
from types import SimpleNamespace
from typing import Any

from rules.world import PLAIN, ROWS, World

import lmpipe
from lmpipe.foundation.statistics import paired_interval
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime

# Calls of a search, for rows and for one task.
CASES = (("rows", 300), ("rows", 400), ("rows", 800), ("one task", 20), ("one task", 40))
_SHOWN = 3
_CURRENT = re.compile(r"being optimized:\n\n```\n(.*?)\n```", re.S)  # in gepa's question


@dataclass(frozen=True)
class Found:
    """What a search found: its score on 300 other cases, and what it took."""

    score: float
    evaluations: int
    questions: int


class Judge:
    """Evaluates texts in a world, and counts."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.evaluations = 0

    def on_row(self, text: str, row: Mapping[str, str]) -> tuple[float, str]:
        """Score a text on a row, with feedback."""
        self.evaluations += 1
        return self.world.judge(row, self.world.answer(text, row["case"]))

    def on_all(self, text: str) -> tuple[float, str]:
        """Score a text on all training rows, with the feedback on some."""
        rows = self.world.rows("train")
        judged = [self.world.judge(row, self.world.answer(text, row["case"])) for row in rows]
        self.evaluations += 1
        wrong = [said for score, said in judged if not score]
        return sum(score for score, _ in judged) / ROWS, "\n".join(wrong[:_SHOWN])


def with_lmpipe(world: World, calls: int, *, single: bool) -> Found:
    """Search with `optimize_text`."""
    judge = Judge(world)

    def improve(request: Request) -> str:
        asked = json.loads(request.messages[-1].text)
        draw = f"{request.key()} {request.sample}"
        text = world.improve(asked["instruction"], asked["cases"], draw)
        return json.dumps({"improved_text": text})

    def on_row(text: str, example: lmpipe.Example) -> lmpipe.Score:
        return lmpipe.Score(*judge.on_row(text, dict(example)))

    def on_all(text: str) -> lmpipe.Score:
        return lmpipe.Score(*judge.on_all(text))

    rows: dict[str, Any] = {
        part: [lmpipe.Example(**row).with_inputs("case") for row in world.rows(part)]
        for part in ("train", "val")
    }
    proposer = lmpipe.ScriptedLM(improve)
    settings: dict[str, Any] = {
        "proposer": proposer,
        "budget": lmpipe.Budget(calls=calls),
        "seed": world.seed,
        "progress": False,
    }
    with tempfile.TemporaryDirectory() as runs, lmpipe.using(runtime=Runtime()):
        if single:
            run = lmpipe.optimize_text(PLAIN, on_all, runs=runs, **settings)
        else:
            run = lmpipe.optimize_text(PLAIN, on_row, runs=runs, **rows, **settings)
    return Found(world.true_score(run.best), judge.evaluations, len(proposer.requests))


def with_gepa(world: World, calls: int, *, single: bool) -> Found:
    """Search with `optimize_anything`, which limits evaluations alone: so as to take all calls."""
    gepa: Any = import_module("gepa.optimize_anything")
    judge, questions = Judge(world), 0

    def improve(prompt: str) -> str:
        nonlocal questions
        questions += 1
        current = _CURRENT.findall(prompt)[0]
        return f"```\n{world.improve(current, prompt, f'{questions} {prompt}')}\n```"

    def on_row(candidate: str, example: Mapping[str, str]) -> tuple[float, dict[str, str]]:
        score, said = judge.on_row(candidate, example)
        return score, {"Input": example["case"], "Feedback": said}

    def on_all(candidate: str) -> tuple[float, dict[str, str]]:
        score, said = judge.on_all(candidate)
        return score, {"Feedback": said}

    # Each of its questions comes with two evaluations of one task, or with six of rows and more.
    evaluations = calls * 3 // 4 if single else round(calls * 0.97)
    config = gepa.GEPAConfig(
        engine=gepa.EngineConfig(seed=world.seed, max_metric_calls=evaluations, parallel=False),
        reflection=gepa.ReflectionConfig(reflection_lm=improve),
        tracking=gepa.TrackingConfig(logger=SimpleNamespace(log=lambda *message: None)),
    )
    data: dict[str, Any] = (
        {}
        if single
        else {
            "dataset": world.rows("train"),
            "valset": world.rows("val"),
        }
    )
    evaluator: Callable[..., Any] = on_all if single else on_row
    found = gepa.optimize_anything(
        PLAIN, evaluator=evaluator, objective="Answer all cases right.", config=config, **data
    )
    return Found(world.true_score(found.best_candidate), judge.evaluations, questions)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args(arguments).seeds
    print("| search | calls | lmpipe | gepa | difference, paired 95 % interval |")
    print("|---|---|---|---|---|")
    for kind, calls in CASES:
        sides = [
            [search(World(seed=seed), calls, single=kind != "rows") for seed in range(seeds)]
            for search in (with_lmpipe, with_gepa)
        ]
        ours, theirs = ([found.score for found in side] for side in sides)
        apart = paired_interval([one - other for one, other in zip(ours, theirs, strict=True)])
        taken = [fmean(found.evaluations + found.questions for found in side) for side in sides]
        shown = [
            f"{fmean(side):.2f} ({used:.0f} calls)"
            for side, used in zip((ours, theirs), taken, strict=True)
        ]
        print(f"| {kind} | {calls} | {' | '.join(shown)} | {apart.low:+.2f} to {apart.high:+.2f} |")


if __name__ == "__main__":
    main()
