"""`compile` a recipe into a run folder."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmpipe.compiling.ablation import Ablation
from lmpipe.compiling.budget_floor import check_budget
from lmpipe.compiling.declared_instructions import declared_instructions
from lmpipe.compiling.event_watcher import EventWatcher
from lmpipe.compiling.final_test import run_test, score_on_train
from lmpipe.compiling.notices import afind_notices, tell, warn_of_unusable
from lmpipe.compiling.plan import baselines
from lmpipe.compiling.progress_watcher import ProgressWatcher
from lmpipe.compiling.provisioning import provision
from lmpipe.compiling.recipe import PreparedRecipe, Recipe, prepare
from lmpipe.compiling.run import Run, TestResult, corrected_score, saved_by_racing
from lmpipe.compiling.run_folder import RunWriter, open_run
from lmpipe.compiling.run_lock import sole_compile
from lmpipe.compiling.run_weights import copy_weights
from lmpipe.compiling.take_apart import take_apart
from lmpipe.compiling.time_for_test import FinalTestTime
from lmpipe.compiling.tool_effects import check_effects
from lmpipe.errors import BudgetExhaustedError
from lmpipe.evaluation.all_raised import check_not_all_raised
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.progress_bar import progress_bar
from lmpipe.foundation.termination import sigterm_ends
from lmpipe.lm.concurrency.loop import blocking
from lmpipe.lm.events import CompileEnded, CompileStarted
from lmpipe.lm.observing import AnyObserved, listening, observed
from lmpipe.monitoring.input_profile import InputProfile
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import FolderWatcher, Watcher, Watchers
from lmpipe.optimize.engine.task import Task
from lmpipe.settings import current_settings, using
from lmpipe.weights.trainings import Trainings

_AFTER_IT = "this compile begins when that one ends, and takes its replies from the cache"


async def acompile(
    recipe: Recipe,
    *,
    runs: str | Path = "runs",
    watchers: Sequence[Watcher] = (),
    concurrency: int = 64,
    origin: str = "",
    overrides: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Run:
    """Compile a program: search for the state that scores best, and test it once.

    After a crash the same call resumes: replies that were paid for come from the cache. While
    another process compiles the same recipe into the same folder, this waits for it.

    Args:
        recipe: the parts of the compile.
        runs: the folder to create the run folder in.
        watchers: notified of progress, candidates and rows.
        concurrency: the number of examples in flight; it does not change the result.
        origin: the file of the recipe, for the manifest.
        overrides: the changes to the recipe of that file, as JSON, for the manifest.
        progress: whether to show progress: a bar on a terminal or in a notebook, elsewhere a line
            every 15 seconds. By default only where there is a terminal or a notebook.

    Raises:
        InputError: if an argument or a part of the recipe is not valid, or the metric raises on
            gold labels.
        BudgetExhaustedError: if the budget cannot score a first candidate, or ended before
            one was scored.
        LMError: if an LM is unavailable after all retries, or refuses; the same call resumes.
        ToolServerError: if a server of tools is gone; the same call resumes.
        StorageError: if the run folder or a cassette cannot be written, as when the disk is full;
            the same call resumes.
    """
    check_number("compile", "concurrency", concurrency, minimum=1, integer=True)
    prepared, root = prepare(recipe), Path(runs)
    for program in (prepared.recipe.program, prepared.recipe.teacher_program):
        check_effects(program, current_settings().runtime.store)
    check_budget(prepared)
    with observed(
        CompileStarted, CompileEnded, program=prepared.name, optimizer=prepared.optimizer.name
    ) as call:
        run = await _in_turn(
            prepared, root, watchers, concurrency, origin, overrides or {}, progress, call
        )
        call.ends(run=run)
    if not watchers:  # they were notified of each one
        warn_of_unusable(run.proposals)
    return run


async def _in_turn(
    prepared: PreparedRecipe,
    root: Path,
    watchers: Sequence[Watcher],
    concurrency: int,
    origin: str,
    overrides: Mapping[str, Any],
    progress: bool | None,
    call: AnyObserved,
) -> Run:
    """Compile once no other process compiles the same recipe into the same folder."""
    notices = await afind_notices(prepared)
    for kind, message in notices.items():
        tell(watchers, kind, message)

    def waiting() -> None:
        tell(watchers, "waiting", f"this recipe is being compiled in {root} already; {_AFTER_IT}")

    async with sole_compile(root, prepared.hash, waiting):
        folder, lock = open_run(root, prepared.name, prepared.hash)
        manifest = _first_manifest(prepared, folder, origin, overrides)
        writer = RunWriter(folder, lock, manifest)
        for kind, message in notices.items():
            writer.note(kind, {"message": message})
        seen = (*watchers, EventWatcher(call)) if listening else watchers
        return await _compile(prepared, writer, seen, concurrency, progress)


# The same for callers without a running event loop. SIGTERM saves the best candidate, as Ctrl-C.
compile = sigterm_ends()(
    blocking(
        acompile,
        interrupted="the compile was stopped; the same call resumes it and repeats no paid call",
    )
)


async def _compile(
    prepared: PreparedRecipe,
    writer: RunWriter,
    watchers: Sequence[Watcher],
    concurrency: int,
    progress: bool | None,
) -> Run:
    """Compile into a run folder; its manifest says how that ended."""
    try:
        inputs = [row.inputs for row in (*prepared.train, *prepared.val, *prepared.test)]
        InputProfile.of(inputs).write(writer.folder)
        for watcher in watchers:
            if isinstance(watcher, FolderWatcher):
                watcher.opened(writer.folder)
        with using(embedder=prepared.lms.embedder), progress_bar(progress) as report:
            shown = () if progress is False else (ProgressWatcher(report),)
            watching = Watchers([writer, *watchers, *shown])
            async with provision(prepared, watching.note) as trainings:
                return await _search(prepared, writer, watching, trainings, concurrency)
    except asyncio.CancelledError:
        writer.stop("interrupted")
        raise
    except Exception as error:
        writer.stop("failed", error)
        raise
    finally:
        writer.close()


async def _search(
    prepared: PreparedRecipe,
    writer: RunWriter,
    watching: Watchers,
    trainings: Trainings | None,
    concurrency: int,
) -> Run:
    recipe, ledger = prepared.recipe, Ledger(prepared.recipe.budget)
    task = _make_task(prepared, ledger, watching, trainings, concurrency)

    test: TestResult | None = None
    train: Evaluation | None = None
    ablation: Ablation | None = None

    def result(stopped: str) -> Run:
        return Run(
            program=recipe.program.bind(task.best.state),
            state=task.best.state,
            best=task.best,
            candidates=tuple(task.candidates),
            train=train,
            test=test,
            ablation=ablation,
            validation_estimate=corrected_score(task.candidates, task.best, recipe.seed),
            racing=saved_by_racing(task.candidates),
            proposals=task.proposals,
            account=ledger.account,
            stopped=stopped,
            seconds=ledger.elapsed,
            path=writer.folder,
        )

    try:
        stopped = await _optimize(task, prepared)
        ledger.release()
        test, untested = await run_test(task, prepared, ledger, concurrency=concurrency)
        train, unchecked = await score_on_train(task, prepared, ledger)
        ablation = await take_apart(task, prepared, ledger, concurrency=concurrency)
    except asyncio.CancelledError:
        if task.scored:
            late = "interrupted after the test"
            run = result(late if test else "interrupted: the best candidate so far, not tested")
            weights = copy_weights(run.state, trainings, writer.folder)
            writer.finish(run.state, status="interrupted", **run.to_json(), **weights)
        raise asyncio.CancelledError(_stopped(task, writer.folder)) from None
    stopped = untested if test is None and untested else stopped + untested
    run = result("; ".join(filter(None, (stopped, unchecked))))
    if run.overfitting:
        task.note("overfitting", message=run.overfitting.sentence)
    # Not in the manifest: a replayed or resumed run pays less.
    writer.note("spent", {"fresh": run.account.total.fresh_json()})
    weights = copy_weights(run.state, trainings, writer.folder)
    writer.finish(run.state, status="done", **run.to_json(), **weights)
    return run


def _make_task(
    prepared: PreparedRecipe,
    ledger: Ledger,
    watching: Watchers,
    trainings: Trainings | None,
    concurrency: int,
) -> Task:
    """Make the task of the search, in which spend and time are withheld for the final test."""
    recipe = prepared.recipe
    ledger.withhold(prepared.plan().test.worst, "the final test")
    states = len(baselines(recipe.program)) + 1
    test_time = FinalTestTime(
        ledger, states=states, examples=len(prepared.test), concurrency=concurrency
    )
    return Task(
        program=recipe.program,
        train=prepared.train,
        val=prepared.val,
        metric=recipe.metric,
        lms=prepared.lms,
        seed=recipe.seed,
        ledger=ledger,
        watcher=Watchers([*watching.members, test_time]),
        teacher_program=recipe.teacher_program,
        racing=recipe.racing,
        objectives=prepared.objectives,
        trainings=trainings if prepared.trainings else None,
        concurrency=concurrency,
    )


async def _optimize(task: Task, prepared: PreparedRecipe) -> str:
    """Score the baselines and search; return why the search ended early, or an empty string."""
    try:
        task.progress.phase = "baselines"
        await task.race(list(baselines(task.program).items()))
        tried = [row for candidate in task.candidates for row in candidate.evaluation.rows]
        check_not_all_raised("the program as declared", tried)
        task.progress.phase = prepared.optimizer.name
        # An LM that needs constrained outputs needs them in the search too.
        result = await prepared.optimizer.optimize(task.starting_from(task.best.state))
        await task.race([(prepared.optimizer.name, result)])
    except BudgetExhaustedError as error:
        if not task.scored:
            raise
        task.note("budget exhausted", message=str(error))
        return str(error)
    return ""


def _stopped(task: Task, folder: Path) -> str:
    """Say where an interrupted compile is, and how far it came."""
    if not task.scored:
        return f"{folder}: no candidate was scored yet"
    best = task.best
    return f"{folder} has the best candidate so far, {best.name}: {best.score:.1%} on validation"


def _first_manifest(
    prepared: PreparedRecipe, folder: Path, origin: str, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    import lmpipe

    identity = dict(prepared.identity)
    program = {
        **identity.pop("program"),
        "instructions": declared_instructions(prepared.recipe.program),
        "name": prepared.name,
        "file": origin,
    }
    if origin and not Path(origin).is_absolute() and folder.resolve().is_relative_to(Path.cwd()):
        program["folder"] = os.path.relpath(Path.cwd(), folder.resolve())
    return {
        **identity,
        "program": program,
        "student_source": prepared.lm_source("student"),
        "overrides": dict(overrides),
        "recipe": prepared.hash,
        "versions": {"lmpipe": lmpipe.__version__, "python": platform.python_version()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
