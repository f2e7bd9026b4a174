"""`compile`: from a recipe to a run folder, and back with `load`."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.artifact import Artifact, RunWriter, open_run, read_artifact
from lmpipe.errors import ArtifactError, BudgetExhaustedError, LmpipeError
from lmpipe.lm import loop
from lmpipe.optimize import (
    Candidate,
    Ledger,
    Racing,
    Task,
    Watcher,
    Watchers,
    baselines,
    worst_run,
)
from lmpipe.outcome import Evaluation, Row
from lmpipe.program import Module
from lmpipe.recipe import Prepared, Recipe, load_recipe, prepare
from lmpipe.spec import spec_text
from lmpipe.spend import Account, Spend
from lmpipe.state import ProgramState
from lmpipe.statistics import Interval, paired_interval


@dataclass(frozen=True)
class TestResult:
    """The one final comparison, on examples that no optimizer saw.

    Args:
        evaluations: of each baseline and of `compiled`, by name.
        baseline: the name of the better baseline.
        difference: how much better the compiled program is, in score.
        interval: the paired 95 % interval of that difference.
    """

    __test__ = False  # not a test case, whatever pytest thinks of its name

    evaluations: Mapping[str, Evaluation]
    baseline: str
    difference: float
    interval: Interval

    @property
    def improved(self) -> bool:
        """Whether the compiled program is better, by the whole interval."""
        return self.interval.low > 0

    def to_json(self) -> dict[str, Any]:
        return {
            "scores": {name: item.summary() for name, item in self.evaluations.items()},
            "baseline": self.baseline,
            "difference": self.difference,
            "interval": [self.interval.low, self.interval.high],
            "improved": self.improved,
        }


@dataclass(frozen=True)
class Run:
    """A finished compile.

    Args:
        program: bound to what was learned.
        state: what was learned.
        best: the winning candidate.
        candidates: all that were scored, in order.
        test: the final comparison, or None where there is no test set.
        account: what was spent, by role, by predictor and by LM.
        stopped: why the search ended early, or the empty string.
        seconds: wall time.
        path: the run folder.
    """

    program: Module
    state: ProgramState
    best: Candidate
    candidates: Sequence[Candidate]
    test: TestResult | None
    account: Account
    stopped: str
    seconds: float
    path: Path

    @property
    def spend(self) -> dict[str, Spend]:
        """What was spent, by role."""
        return self.account.by_role

    @property
    def scores(self) -> dict[str, float]:
        """The validation score of the winner, and the test scores by what was tested."""
        found = {"validation": self.best.score}
        if self.test:
            found |= {name: item.score for name, item in self.test.evaluations.items()}
        return found


def compile(
    recipe: Recipe,
    *,
    runs: str | Path = "runs",
    watchers: Sequence[Watcher] = (),
    concurrency: int = 64,
    origin: str = "",
    overrides: Mapping[str, Any] | None = None,
) -> Run:
    """Compile a program: search for the state that scores best, and test it once.

    The same call after a crash resumes: what was paid for comes from the cache.

    Args:
        recipe: what the compile is made of.
        runs: the folder in which the run folder is made.
        watchers: told of progress, candidates and rows.
        concurrency: examples in flight at a time; it does not change the result.
        origin: the file that the recipe comes from, for the manifest.
        overrides: what was changed of the recipe in that file, as JSON, for the manifest.

    Raises:
        InputError: if something handed over is wrong.
        BudgetExhaustedError: if the budget ended before a first candidate was scored.
        LMError: if an LM is away after retries, or refuses; the same call resumes.
    """
    return loop.run_sync(
        acompile(
            recipe,
            runs=runs,
            watchers=watchers,
            concurrency=concurrency,
            origin=origin,
            overrides=overrides,
        )
    )


async def acompile(
    recipe: Recipe,
    *,
    runs: str | Path = "runs",
    watchers: Sequence[Watcher] = (),
    concurrency: int = 64,
    origin: str = "",
    overrides: Mapping[str, Any] | None = None,
) -> Run:
    """`compile` from a coroutine."""
    prepared = prepare(recipe)
    folder, lock = open_run(Path(runs), prepared.name, prepared.hash)
    writer = RunWriter(folder, lock, _first_manifest(prepared, origin, overrides or {}))
    try:
        run = await _search(prepared, writer, watchers, concurrency)
    except asyncio.CancelledError:
        writer.update(status="interrupted")
        raise
    except LmpipeError as error:
        writer.update(status="failed", error=str(error))
        raise
    except Exception as error:
        writer.update(status="failed", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        writer.close()
    return run


async def _search(
    prepared: Prepared, writer: RunWriter, watchers: Sequence[Watcher], concurrency: int
) -> Run:
    started = time.monotonic()
    recipe, plan = prepared.recipe, prepared.plan()
    ledger = Ledger(recipe.budget, started=started)
    task = Task(
        program=recipe.program,
        train=prepared.train,
        val=prepared.val,
        metric=recipe.metric,
        lms=prepared.lms,
        seed=recipe.seed,
        ledger=ledger,
        watcher=Watchers([writer, *watchers]),
        teacher_program=recipe.teacher_program,
        racing=Racing() if recipe.race else None,
        concurrency=concurrency,
    )
    ledger.withhold(plan.worst["baselines and result on test"])

    def result(test: TestResult | None, stopped: str) -> Run:
        return Run(
            program=recipe.program.bind(task.best.state),
            state=task.best.state,
            best=task.best,
            candidates=tuple(task.candidates),
            test=test,
            account=ledger.account,
            stopped=stopped,
            seconds=time.monotonic() - started,
            path=writer.folder,
        )

    try:
        stopped = await _optimize(task, prepared)
        ledger.release()
        test, untested = await _tested(task, prepared, ledger)
    except asyncio.CancelledError:
        if task.scored:
            run = result(None, "interrupted: the best so far, untested")
            writer.finish(run.state, status="interrupted", **_last_manifest(run))
        raise
    run = result(test, untested if test is None and untested else stopped + untested)
    # Not for the manifest: a run that is replayed or resumed pays for less.
    writer.note("spent", {"fresh": run.account.total.fresh_json()})
    writer.finish(run.state, status="done", **_last_manifest(run))
    return run


async def _optimize(task: Task, prepared: Prepared) -> str:
    """Score the baselines and search; returns why the search ended early, if it did."""
    try:
        task.phase = "baselines"
        await task.race(list(baselines(task.program.state()).items()))
        task.phase = prepared.optimizer.name
        result = await prepared.optimizer.optimize(task)
        await task.race([(prepared.optimizer.name, result)])
    except BudgetExhaustedError as error:
        if not task.scored:
            raise
        task.note("budget exhausted", message=str(error))
        return str(error)
    return ""


async def _tested(task: Task, prepared: Prepared, ledger: Ledger) -> tuple[TestResult | None, str]:
    """The test, if there is one, and why it was not done whole."""
    if not prepared.test:
        return None, ""
    try:
        test = await _test(task, prepared, task.best.state, ledger)
    except BudgetExhaustedError as error:
        task.note("budget exhausted", message=str(error))
        return None, f"{error}; the test was not done"
    tested = len(test.evaluations["compiled"].rows)
    if tested < len(prepared.test):
        return test, f"; it left room to test {tested} of {len(prepared.test)} examples"
    return test, ""


async def _test(task: Task, prepared: Prepared, state: ProgramState, ledger: Ledger) -> TestResult:
    """Test the baselines and the result on the same examples: all, or as many as there is room for.

    Raises:
        BudgetExhaustedError: if there is room for none.
    """
    task.phase = "test"
    states = {**baselines(task.program.state()), "compiled": state}
    distinct = {item.hash: (name, item) for name, item in reversed(states.items())}
    lms, metric = prepared.lms, prepared.recipe.metric
    programs = [task.program.bind(item) for _, item in distinct.values()]
    worst = sum(
        (worst_run(program, [lms.student], metric, lms.judge) for program in programs), Spend()
    )
    rows: dict[str, list[Row]] = {key: [] for key in distinct}
    done = 0
    # Runs mostly cost less than their worst case, so there may be room for more after a block.
    while done < len(prepared.test):
        block = prepared.test[done:][: ledger.room(worst)]
        if not block:
            break
        for key, (name, item) in reversed(distinct.items()):
            evaluation = await task.test(name, item, block, first=done)
            rows[key] += evaluation.rows
        done += len(block)
    if not done:
        raise BudgetExhaustedError(f"the budget ({ledger.budget}) is used up")
    by_state = {key: Evaluation(tuple(found)) for key, found in rows.items()}
    evaluations = {name: by_state[item.hash] for name, item in states.items()}
    names = [name for name in evaluations if name != "compiled"]
    baseline = max(names, key=lambda name: evaluations[name].score)
    pairs = zip(evaluations["compiled"].values, evaluations[baseline].values, strict=True)
    differences = [after - before for after, before in pairs]
    return TestResult(
        evaluations,
        baseline,
        sum(differences) / len(differences),
        paired_interval(differences),
    )


def _first_manifest(
    prepared: Prepared, origin: str, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    import lmpipe

    identity = dict(prepared.identity)
    program = {**identity.pop("program"), "name": prepared.name, "file": origin}
    return {
        **identity,
        "program": program,
        "overrides": dict(overrides),
        "recipe": prepared.hash,
        "versions": {"lmpipe": lmpipe.__version__, "python": platform.python_version()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _last_manifest(run: Run) -> dict[str, Any]:
    return {
        "best": {"number": run.best.number, "name": run.best.name, "state": run.state.hash},
        "validation": [
            {"number": c.number, "name": c.name, "complete": c.complete, **c.evaluation.summary()}
            for c in run.candidates
        ],
        "test": run.test.to_json() if run.test else None,
        "spend": run.account.to_json(),
        "stopped": run.stopped,
        "seconds": run.seconds,
    }


def load(path: str | Path, program: Module | None = None, *, trust: bool = False) -> Module:
    """Load a compiled program from its run folder.

    Args:
        path: the run folder.
        program: the program that it was compiled from.
        trust: without `program`, run the file that the manifest names to get it. Only for
            folders whose origin you trust: that file is code.

    Raises:
        ArtifactError: if the folder is damaged, belongs to another program, or would need code
            to be run without being trusted.
    """
    artifact = read_artifact(path)
    if program is None:
        program = trusted_recipe(artifact, trust=trust).program
    return bind_artifact(program, artifact)


def bind_artifact(program: Module, artifact: Artifact) -> Module:
    """Bind a program to what a run folder holds.

    Raises:
        ArtifactError: if it was learned for another program; shows the signatures of both.
    """
    try:
        return program.bind(artifact.state)
    except ArtifactError as error:
        signatures = artifact.manifest.get("program", {}).get("signatures", {})
        learned = "\n".join(f"  {path}: {spec_text(item)}" for path, item in signatures.items())
        raise ArtifactError(f"{error}\nit was learned for\n{learned}") from error


def trusted_recipe(artifact: Artifact, *, trust: bool) -> Recipe:
    """The recipe in the file that a manifest names.

    Raises:
        ArtifactError: if the folder is not trusted, or the file is not there.
    """
    file = str(artifact.manifest.get("program", {}).get("file", ""))
    if not trust:
        named = f"run {file}, which it names" if file else "know its program"
        raise ArtifactError(
            f"{artifact.path} alone is data; to load it, lmpipe would have to {named}\n"
            "  hand over the program, or say that you trust the folder: load(path, program) or "
            "load(path, trust=True); on the command line --program FILE or --trust"
        )
    if not file:
        raise ArtifactError(
            f"{artifact.path} was compiled from Python code that its manifest does not name: hand "
            "over the program itself"
        )
    return load_recipe(file)
