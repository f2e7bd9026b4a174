"""`lmpipe compile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.failures import ExitCode, fail
from lmpipe.cli.options import (
    ApiKeyEnv,
    Attempts,
    BaseUrl,
    CacheFolder,
    Concurrency,
    Embedder,
    Json,
    Record,
    Replay,
    Rpm,
    Student,
    Timeout,
    Tpm,
)

if TYPE_CHECKING:
    from lmpipe.compiling.recipe import Recipe
    from lmpipe.compiling.run import Run
    from lmpipe.report.progress import ProgressView

_Size = Annotated[int | None, typer.Option(min=1, help="Examples to take of it, by the seed.")]


def command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The program's file, with `recipe = …` in it.")
    ],
    optimizer: Annotated[str | None, typer.Option(metavar="NAME", help="How to search.")] = None,
    trainer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who trains weights: local, or hosted by a provider."),
    ] = None,
    student: Student = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="LM", help="The LM that gives demonstrations.")
    ] = None,
    proposer: Annotated[
        str | None, typer.Option(metavar="LM", help="The LM that writes instructions.")
    ] = None,
    embedder: Embedder = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    timeout: Timeout = None,
    train: Annotated[str | None, typer.Option(metavar="PATH", help="Training examples.")] = None,
    val: Annotated[str | None, typer.Option(metavar="PATH", help="Validation examples.")] = None,
    test: Annotated[str | None, typer.Option(metavar="PATH", help="Test examples.")] = None,
    train_size: _Size = None,
    val_size: _Size = None,
    test_size: _Size = None,
    budget: Annotated[
        str | None, typer.Option(metavar="LIMITS", help="The most to spend: calls=2000,usd=1.")
    ] = None,
    no_race: Annotated[
        bool, typer.Option("--no-race", help="Score every candidate on all validation examples.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="All randomness comes from it.")] = None,
    concurrency: Concurrency = 64,
    attempts: Attempts = None,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Where run folders go.")] = Path("runs"),
    cache: CacheFolder = None,
    record: Record = None,
    replay: Replay = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its most LM calls; do nothing.")
    ] = False,
    json: Json = False,
    require_improvement: Annotated[
        bool, typer.Option("--require-improvement", help="Exit with 3 if the result is not better.")
    ] = False,
) -> None:
    """Compile a program: search for what scores best, test it once, save it."""
    from lmpipe.cli.overrides import Overrides, RateOptions, choose_lms
    from lmpipe.cli.targets import open_runtime
    from lmpipe.compiling.compile import compile as compile_recipe
    from lmpipe.compiling.load_recipe import load_recipe

    lms = choose_lms(
        base_url,
        api_key_env,
        student=student,
        teacher=teacher,
        proposer=proposer,
        embedder=embedder,
    )
    traffic = RateOptions(rpm=rpm, tpm=tpm, timeout=timeout)
    overrides = Overrides(
        optimizer=optimizer,
        trainer=trainer,
        **lms,
        traffic=None if traffic == RateOptions() else traffic,
        train=train,
        val=val,
        test=test,
        train_size=train_size,
        val_size=val_size,
        test_size=test_size,
        budget=budget,
        seed=seed,
        race=False if no_race else None,
    )
    recipe = overrides.apply(load_recipe(file))
    _check_gate(recipe, require_improvement)
    if dry_run:
        _show_plan(recipe, json=json)
        return
    view = _view(recipe, json=json)
    road = open_runtime(
        cache=cache,
        concurrency=concurrency,
        attempts=attempts,
        view=view,
        record=record,
        replay=replay,
    )
    with road, view:
        run = compile_recipe(
            recipe,
            runs=runs,
            watchers=[view],
            concurrency=concurrency,
            origin=_origin(file),
            overrides=overrides.to_json(),
        )
    _finish(run, json=json)
    if require_improvement and not (run.test and run.test.improved):
        fail(
            "not improved: the paired 95 % interval of the difference is not above zero",
            ExitCode.NOT_IMPROVED,
        )


def _check_gate(recipe: Recipe, required: bool) -> None:
    from lmpipe.errors import RecipeError

    if required and recipe.test is None:
        raise RecipeError(
            "--require-improvement needs test examples to judge by: give the recipe a test=…, or "
            "--test PATH"
        )


def _show_plan(recipe: Recipe, *, json: bool) -> None:
    import orjson

    from lmpipe.compiling.recipe import prepare
    from lmpipe.report.terminal import make_console, plan_json, print_plan

    plan = plan_json(prepare(recipe))
    if json:
        typer.echo(orjson.dumps(plan).decode())
    else:
        print_plan(make_console(), plan)


def _view(recipe: Recipe, *, json: bool) -> ProgressView:
    from lmpipe.report.progress import JsonLines, LivePanel, PlainLines
    from lmpipe.report.terminal import make_console

    if json:
        return JsonLines()
    console = make_console()
    if console.is_terminal and not console.is_dumb_terminal:
        return LivePanel(console, recipe.name)
    return PlainLines()


def _origin(file: str) -> str:
    """The program's file as the manifest names it: relative where the working folder holds it."""
    path, colon, name = file.rpartition(":") if ".py:" in file else (file, "", "")
    resolved = Path(path).resolve()
    if resolved.is_relative_to(Path.cwd()):
        resolved = resolved.relative_to(Path.cwd())
    return f"{resolved}{colon}{name}"


def _finish(run: Run, *, json: bool) -> None:
    """Write the report page and say what came out, and what can be done with it."""
    from lmpipe.report import write_report
    from lmpipe.report.progress import JsonLines
    from lmpipe.report.terminal import make_console, print_run, say

    if json:
        JsonLines().emit("done", **_summary(run), report=str(write_report(run.path)))
        return
    console = make_console()
    print_run(console, run)
    page = write_report(run.path)
    say(console)
    say(console, f"run folder  {run.path}")
    say(console, f"report      {page}")
    say(console)
    say(console, "next")
    options = " ".join(f"--{name} …" for name in _input_names(run))
    say(console, f"  lmpipe run {run.path} --trust {options}")
    say(console, f"  lmpipe show {run.path}")
    say(console, f"  lmpipe eval {run.path} --trust")


def _summary(run: Run) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "state": run.state.hash,
        "best": {"number": run.best.number, "name": run.best.name, "score": run.best.score},
        "train": run.train.summary() if run.train else None,
        "validation_estimate": run.validation_estimate,
        "test": run.test.to_json() if run.test else None,
        "overfitting": run.overfitting.to_json() if run.overfitting else None,
        "racing": {"saved": run.racing.runs, "of": run.racing.of},
        "improved": bool(run.test and run.test.improved),
        "spend": {**run.account.to_json(), "fresh": run.account.total.fresh_json()},
        "stopped": run.stopped,
        "seconds": run.seconds,
    }


def _input_names(run: Run) -> list[str]:
    from lmpipe.cli.inputs import input_types

    return [name for name, field in input_types(run.program).items() if field.required]
