"""One compile by one of lmpipe's optimizers, as a process: `python -m compiling.lmpipe_side -h`.

lmpipe runs with its defaults and an empty cache. The search's calls are those before the first call
of the test; the test includes the baseline, as in every compile.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compiling.meter import Spent
from compiling.side import Job, begin
from compiling.tasks import SPLITS, Rows, TaskName

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import LmpipeError
from lmpipe.evaluation.evaluate import evaluate
from lmpipe.evaluation.results import Row
from lmpipe.metrics import AnyMetric, exact_match
from lmpipe.optimize.by_name import optimizer_named
from lmpipe.optimize.engine.events import Candidate, Progress, Rollout
from lmpipe.optimize.engine.optimizer import Optimizer
from metrics.tickets import ticket_score
from programs.tickets import Tickets

CONTEXT = 4096


class Meters:
    """A watcher that reads the server's counters at each candidate and before the test."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tested_from: Spent | None = None

    def progress(self, progress: Progress) -> None:
        if progress.phase == "test" and self.tested_from is None:
            self.tested_from = self.job.searched()

    def candidate(self, candidate: Candidate, *, best: bool) -> None:
        if candidate.complete:  # one that a race dropped has no score on all examples
            self.job.scored(100 * candidate.score)

    def rollout(self, rollout: Rollout) -> None:
        """Ignore rollouts: the server counts them."""

    def row(self, subject: str, row: Row) -> None:
        """Ignore rows: the run folder has them."""

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Ignore notes: the run folder has them."""


def declared(
    task: TaskName, rows: Rows
) -> tuple[lmpipe.Module, AnyMetric, Mapping[str, Sequence[lmpipe.Example]]]:
    """Return a task's program with constrained outputs, its metric and its data."""
    inputs: tuple[str, ...] = ("text",)
    metric: AnyMetric
    if task == "tickets":
        program: lmpipe.Module = Tickets()
        program = program.bind(program.state().map(constrained=True))
        metric, inputs = ticket_score, ("message",)
    else:
        labels = ", ".join(repr(label) for label in rows.labels())
        signature = f"text -> label: Literal[{labels}]"
        program = lmpipe.Predict(signature, layout="plain", constrained=True, max_tokens=24)
        metric = exact_match("label")
    examples = {
        split: [lmpipe.Example(**row).with_inputs(*inputs) for row in getattr(rows, split)]
        for split in SPLITS
    }
    return program, metric, examples


def recipe(job: Job) -> lmpipe.Recipe:
    """Return the recipe to compile."""
    options = job.options
    program, metric, examples = declared(options.task, job.rows)
    settings = dict(options.settings)
    calls = settings.pop("calls", None)
    made = lmpipe.Recipe(
        program=program,
        train=examples["train"],
        val=examples["val"],
        test=examples["test"],
        metric=metric,
        optimizer=optimizer(options.optimizer, settings),
        student=lmpipe.LM(f"vllm/{options.model}", base_url=options.url, context=CONTEXT),
        seed=options.seed,
        name=options.task,
        ablation=False,  # the search and the test are compared
    )
    if calls is None:
        return made
    # A compile's budget includes the test, but `calls` does not: the rest is tested afterwards.
    made = made.replace(test=examples["test"][:1])
    testing = prepare(made).plan().test.worst.calls
    return made.replace(budget=lmpipe.Budget(calls=calls + testing))


def test_values(run: lmpipe.Run, made: lmpipe.Recipe, job: Job) -> Sequence[float]:
    """Return the scores of the compiled program on all test rows."""
    assert run.test is not None
    tested = run.test.evaluations["compiled"].values
    if len(tested) == len(job.rows.test):
        return tested
    _, metric, examples = declared(job.options.task, job.rows)
    return evaluate(run.program, examples["test"], metric, lm=made.student).values


def optimizer(name: str, settings: Mapping[str, Any]) -> Optimizer:
    """Return an optimizer by its name, with some settings changed."""
    made: Any = optimizer_named(name)
    given = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    changed: Optimizer = dataclasses.replace(made, **given)
    return changed


def main(arguments: Sequence[str] | None = None) -> None:
    job = begin("lmpipe", None, arguments)
    made = recipe(job)
    assert not isinstance(made.optimizer, str)
    job.result.settings |= {"optimizer": made.optimizer.settings(), "lmpipe": lmpipe.__version__}
    job.write()
    meters = Meters(job)
    with tempfile.TemporaryDirectory() as folder:
        lmpipe.configure(cache=Path(folder) / "cache")
        try:
            run = lmpipe.compile(made, runs=Path(folder) / "runs", watchers=[meters])
        except LmpipeError as error:
            job.ended(f"ended by {type(error).__name__}: {str(error)[:300]}")
            raise
        assert run.test is not None
        assert meters.tested_from is not None
        job.result.settings["best"] = run.best.name
        job.result.settings["stopped"] = run.stopped
        job.result.settings["baseline_test"] = round(
            100 * run.test.evaluations[run.test.baseline].score, 2
        )
        job.result.settings["accounted_calls"] = {
            role: spend.calls for role, spend in run.account.by_role.items()
        }
        job.tested(test_values(run, made, job), meters.tested_from)


if __name__ == "__main__":
    main()
