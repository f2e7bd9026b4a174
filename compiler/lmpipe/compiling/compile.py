"""`compile` a recipe into a run folder, and `load` the compiled program from it."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmpipe.compiling.final_test import run_test, score_on_train
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.plan import baselines
from lmpipe.compiling.progress_watcher import ProgressWatcher
from lmpipe.compiling.provisioning import provision
from lmpipe.compiling.recipe import PreparedRecipe, Recipe, prepare
from lmpipe.compiling.run import Run, TestResult, corrected_score, saved_by_racing
from lmpipe.compiling.run_folder import Artifact, RunWriter, open_run, read_artifact
from lmpipe.compiling.run_weights import adapters_of, attach_weights, copy_weights
from lmpipe.errors import ArtifactError, BudgetExhaustedError, LmpipeError
from lmpipe.evaluation.all_raised import check_not_all_raised
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.progress_bar import progress_bar
from lmpipe.lm.concurrency.loop import blocking
from lmpipe.modules.module import Module
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import Watcher, Watchers
from lmpipe.optimize.engine.task import Task
from lmpipe.serving.spec import ServerSpec
from lmpipe.settings import configured_lm, current_settings, using
from lmpipe.signatures.signature_spec import spec_text
from lmpipe.weights.trainings import WEIGHTS, Trainings


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

    After a crash the same call resumes: replies that were paid for come from the cache.

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
        InputError: if an argument or a part of the recipe is not valid.
        BudgetExhaustedError: if the budget ended before the first candidate was scored.
        LMError: if an LM is unavailable after all retries, or refuses; the same call resumes.
    """
    check_number("compile", "concurrency", concurrency, minimum=1, integer=True)
    prepared = prepare(recipe)
    folder, lock = open_run(Path(runs), prepared.name, prepared.hash)
    writer = RunWriter(folder, lock, _first_manifest(prepared, origin, overrides or {}))
    try:
        with using(embedder=prepared.lms.embedder), progress_bar(progress) as report:
            shown = () if progress is False else (ProgressWatcher(report),)
            watching = Watchers([writer, *watchers, *shown])
            async with provision(prepared, watching.note) as trainings:
                run = await _search(prepared, writer, watching, trainings, concurrency)
    except asyncio.CancelledError:
        writer.update(status="interrupted")
        raise
    except Exception as error:
        name = "" if isinstance(error, LmpipeError) else f"{type(error).__name__}: "
        writer.update(status="failed", error=f"{name}{error}")
        raise
    finally:
        writer.close()
    return run


# The same for callers without a running event loop.
compile = blocking(
    acompile,
    interrupted="the compile was stopped; the same call resumes it and repeats no paid call",
)


async def _search(
    prepared: PreparedRecipe,
    writer: RunWriter,
    watching: Watchers,
    trainings: Trainings | None,
    concurrency: int,
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
        watcher=watching,
        teacher_program=recipe.teacher_program,
        racing=recipe.racing,
        trainings=trainings,
        concurrency=concurrency,
    )
    ledger.withhold(plan.test.worst)

    def result(test: TestResult | None, train: Evaluation | None, stopped: str) -> Run:
        return Run(
            program=recipe.program.bind(task.best.state),
            state=task.best.state,
            best=task.best,
            candidates=tuple(task.candidates),
            train=train,
            test=test,
            validation_estimate=corrected_score(task.candidates, task.best, recipe.seed),
            racing=saved_by_racing(task.candidates),
            proposals=task.proposals,
            account=ledger.account,
            stopped=stopped,
            seconds=time.monotonic() - started,
            path=writer.folder,
        )

    try:
        stopped = await _optimize(task, prepared)
        ledger.release()
        test, untested = await run_test(task, prepared, ledger)
        train, unchecked = await score_on_train(task, prepared, ledger)
    except asyncio.CancelledError:
        if task.scored:
            run = result(None, None, "interrupted: the best candidate so far, not tested")
            weights = copy_weights(run.state, trainings, writer.folder)
            writer.finish(run.state, status="interrupted", **run.to_json(), **weights)
        raise
    stopped = untested if test is None and untested else stopped + untested
    run = result(test, train, "; ".join(filter(None, (stopped, unchecked))))
    if run.overfitting:
        task.note("overfitting", message=run.overfitting.sentence)
    # Not in the manifest: a replayed or resumed run pays less.
    writer.note("spent", {"fresh": run.account.total.fresh_json()})
    weights = copy_weights(run.state, trainings, writer.folder)
    writer.finish(run.state, status="done", **run.to_json(), **weights)
    return run


async def _optimize(task: Task, prepared: PreparedRecipe) -> str:
    """Score the baselines and search; return why the search ended early, or an empty string."""
    try:
        task.progress.phase = "baselines"
        await task.race(list(baselines(task.program.state()).items()))
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


def _first_manifest(
    prepared: PreparedRecipe, origin: str, overrides: Mapping[str, Any]
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


def load(path: str | Path, program: Module | None = None, *, trust: bool = False) -> Module:
    """Load a compiled program from its run folder.

    Args:
        path: the run folder.
        program: the program that was compiled.
        trust: if `program` is not given, run the file that the manifest names to get it. Only for
            folders that you trust: that file is code.

    Raises:
        ArtifactError: if the folder is damaged, belongs to another program, or its code would
            have to run without `trust`.
    """
    artifact = read_artifact(path)
    servers: Sequence[ServerSpec] = ()
    lms = [configured_lm()]
    if program is None:
        recipe = trusted_recipe(artifact, trust=trust)
        program, servers, lms = recipe.program, recipe.servers, [recipe.student, *lms]
    bound = bind_artifact(program, artifact)
    if (artifact.path / WEIGHTS).is_dir() or adapters_of(artifact.state):
        runtime = current_settings().runtime
        attach_weights(artifact.state, artifact.path, runtime, servers=servers, lms=lms)
    return bound


def bind_artifact(program: Module, artifact: Artifact) -> Module:
    """Bind a program to the state in a run folder; the error for another shows both signatures."""
    try:
        return program.bind(artifact.state)
    except ArtifactError as error:
        signatures = artifact.manifest.get("program", {}).get("signatures", {})
        learned = "\n".join(f"  {path}: {spec_text(item)}" for path, item in signatures.items())
        raise ArtifactError(f"{error}\nit was learned for\n{learned}") from error


def trusted_recipe(artifact: Artifact, *, trust: bool) -> Recipe:
    """Load the recipe from the file that a manifest names, if the folder is trusted."""
    file = str(artifact.manifest.get("program", {}).get("file", ""))
    if not trust:
        needed = f"run {file}, which it names" if file else "have its program"
        raise ArtifactError(
            f"{artifact.path} holds only data; to load it, lmpipe would have to {needed}\n"
            "  pass the program, or trust the folder: load(path, program) or load(path, "
            "trust=True); on the command line --program FILE or --trust"
        )
    if not file:
        raise ArtifactError(
            f"{artifact.path} was compiled from Python code that its manifest does not name: pass "
            "the program"
        )
    return load_recipe(file)
