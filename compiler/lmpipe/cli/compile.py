"""`lmpipe compile`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.failures import ExitCode, fail
from lmpipe.cli.options import JsonLines, LMOptions, RuntimeOptions, with_option_groups

if TYPE_CHECKING:
    from lmpipe.cli.overrides import Overrides
    from lmpipe.compiling.recipe import Recipe
    from lmpipe.compiling.run import Run
    from lmpipe.report.progress import ProgressView


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """The parts of a recipe that a command line can change."""

    optimizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Optimizer of the search.")
    ] = None
    trainer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where weights are trained: local or hosted.")
    ] = None
    train: Annotated[str | None, typer.Option(metavar="PATH", help="Training examples.")] = None
    from_feedback: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Feedback on served answers to learn from too: a folder of lmpipe serve "
            "--feedback, or NAME=PATH for that on one of several programs.",
        ),
    ] = None
    val: Annotated[str | None, typer.Option(metavar="PATH", help="Validation examples.")] = None
    test: Annotated[str | None, typer.Option(metavar="PATH", help="Test examples.")] = None
    train_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Training examples to sample.")
    ] = None
    val_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Validation examples to sample.")
    ] = None
    test_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Test examples to sample.")
    ] = None
    budget: Annotated[
        str | None, typer.Option(metavar="LIMITS", help="Maximum spend: calls=2000,usd=1.")
    ] = None
    objectives: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS", help="Weigh costs against the score: tokens=-0.02,usd=-0.01."
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of all random choices.")] = (
        None
    )
    no_race: Annotated[
        bool, typer.Option("--no-race", help="Score every candidate on all validation examples.")
    ] = False
    no_ablation: Annotated[
        bool, typer.Option("--no-ablation", help="Do not take the result apart after the test.")
    ] = False

    def add_to(self, changes: Overrides) -> Overrides:
        """Return the changes with those of these options."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        race = False if values.pop("no_race") else None
        ablation = False if values.pop("no_ablation") else None
        return replace(changes, **values, race=race, ablation=ablation)


@with_option_groups
def command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The program's file, with `recipe = …` in it.")
    ],
    *,
    options: RecipeOptions,
    teacher: Annotated[
        str | None, typer.Option(metavar="LM", help="LM that writes demonstrations.")
    ] = None,
    proposer: Annotated[
        str | None, typer.Option(metavar="LM", help="LM that writes instructions.")
    ] = None,
    lms: LMOptions,
    runtime: RuntimeOptions,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Folder for run folders.")] = Path(
        "runs"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its maximum LM calls, then exit.")
    ] = False,
    mlflow: Annotated[
        bool,
        typer.Option(
            "--mlflow", help="Log the compile at the MLflow server in $MLFLOW_TRACKING_URI."
        ),
    ] = False,
    json: JsonLines = False,
    require_improvement: Annotated[
        bool, typer.Option("--require-improvement", help="Exit with 3 if the result is not better.")
    ] = False,
) -> None:
    """Compile a program: search, test once, save."""
    from lmpipe.cli.overrides import lm_overrides
    from lmpipe.cli.targets import open_runtime, split_target
    from lmpipe.cli.tracking import tracking
    from lmpipe.compiling.compile import compile as compile_recipe
    from lmpipe.compiling.load_recipe import load_recipe
    from lmpipe.errors import RecipeError

    overrides = options.add_to(lm_overrides(lms, teacher=teacher, proposer=proposer))
    recipe = overrides.apply(load_recipe(file))
    if require_improvement and recipe.test is None:
        raise RecipeError(
            "--require-improvement needs test examples: give the recipe test=…, or the command "
            "--test PATH"
        )
    if dry_run:
        _print_plan(recipe, json=json)
        return
    view = _view(recipe, json=json)
    with tracking(mlflow) as tracked:
        with open_runtime(runtime, view=view), view:
            run = compile_recipe(
                recipe,
                runs=runs,
                watchers=[view, *tracked.watchers],
                concurrency=runtime.concurrency,
                origin=_origin(*split_target(file)),
                overrides=overrides.to_json(),
                progress=False,  # the view shows it
            )
        _finish(run, json=json)
        tracked.register(run)
    if require_improvement and not (run.test and run.test.improved):
        fail(
            "not improved: the paired 95 % interval of the difference is not above zero",
            ExitCode.NOT_IMPROVED,
        )


def _print_plan(recipe: Recipe, *, json: bool) -> None:
    import orjson

    from lmpipe.compiling.notices import find_notices
    from lmpipe.compiling.recipe import prepare
    from lmpipe.report.terminal import make_console, plan_json, print_plan, say

    prepared = prepare(recipe)
    plan = {**plan_json(prepared), "notices": find_notices(prepared)}
    if json:
        typer.echo(orjson.dumps(plan).decode())
    else:
        console = make_console()
        print_plan(console, plan)
        if metric := plan["notices"].get("metric"):
            say(console, metric, style="yellow")


def _view(recipe: Recipe, *, json: bool) -> ProgressView:
    from lmpipe.report.progress import JsonLines, LivePanel, PlainLines
    from lmpipe.report.terminal import make_console

    if json:
        return JsonLines()
    console = make_console()
    if console.is_terminal and not console.is_dumb_terminal:
        return LivePanel(console, recipe.name)
    return PlainLines()


def _origin(file: str, name: str) -> str:
    """Return the program's file for the manifest, relative to the working folder if inside it."""
    resolved = Path(file).resolve()
    if resolved.is_relative_to(Path.cwd()):
        resolved = resolved.relative_to(Path.cwd())
    return f"{resolved}{name}"


def _finish(run: Run, *, json: bool) -> None:
    """Write the report page, then print the result and the next commands."""
    from lmpipe.modules.declared_fields import declared_inputs
    from lmpipe.report.page import write_report
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
    fields = declared_inputs(run.program).items()
    inputs = " ".join(f"--input {name}=…" for name, field in fields if field.required)
    say(console, f"  lmpipe run {run.path} --trust {inputs}")
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
        "ablation": run.ablation.to_json() if run.ablation else None,
        "overfitting": run.overfitting.to_json() if run.overfitting else None,
        "racing": {"saved": run.racing.runs, "of": run.racing.of},
        "proposals": run.proposals.to_json(),
        "improved": bool(run.test and run.test.improved),
        "spend": {**run.account.to_json(), "fresh": run.account.total.fresh_json()},
        "stopped": run.stopped,
        "seconds": run.seconds,
    }
