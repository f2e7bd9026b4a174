"""`lmpipe eval`."""

from __future__ import annotations

from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.examples import Split, read_examples_of
from lmpipe.cli.failures import ExitCode
from lmpipe.cli.gates import Baseline, Gate, GateOptions, gates
from lmpipe.cli.options import Json, LMOptions, RuntimeOptions, TargetOptions, with_option_groups
from lmpipe.foundation.exact_json import dump_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmpipe.cli.targets import OpenTarget
    from lmpipe.compiling.recipe import PreparedRecipe
    from lmpipe.evaluation.results import Evaluation
    from lmpipe.report.comparison.scores import ScoreComparison


@with_option_groups
def command(
    *,
    where: TargetOptions,
    split: Annotated[
        Split, typer.Option("--split", help="The recipe's examples to score.")
    ] = Split.TEST,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Other examples to score instead.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write each row to a .jsonl or .csv file.")
    ] = None,
    worst: Annotated[
        int, typer.Option(metavar="N", min=0, help="Show the N worst rows, with their errors.")
    ] = 0,
    gate: GateOptions,
    lms: LMOptions,
    runtime: RuntimeOptions,
    json: Json = False,
) -> None:
    """Score a compiled program, or a program as declared.

    With --fail-under or --baseline it is a gate: exit code 0 if the score passes, 3 if not.
    """
    from lmpipe.cli.overrides import lm_overrides
    from lmpipe.cli.targets import attach_servers, evaluate_target, open_runtime, open_target
    from lmpipe.evaluation.row_files import check_rows_file
    from lmpipe.settings import using

    gate.check()
    if out is not None:
        check_rows_file(out)
    baseline = Baseline.read(gate.baseline, where) if gate.baseline else None
    opened = open_target(where, lm_overrides(lms))
    examples, prepared = read_examples_of(opened, split, data)
    with open_runtime(runtime), using(embedder=opened.recipe.embedder):
        attach_servers(opened)
        evaluation = evaluate_target(
            opened,
            examples,
            scored_by=opened,
            concurrency=runtime.concurrency,
            save_to=out,
            progress=not json,
        )
        compared = None
        if baseline is not None:
            name = None if data else split.value
            compared = baseline.compare(
                evaluation, examples, name, prepared, opened, runtime.concurrency
            )
    checked = gates(gate, evaluation.score, compared)
    verdict = _compare(opened, prepared, split, evaluation) if prepared else None
    if json:
        extra = _gates_json(gate, compared, checked)
        _print_json(opened, "data" if data else split, evaluation, verdict, extra)
    else:
        _print(opened, data or f"{split} split", evaluation, verdict, worst)
        _print_gates(gate, compared, checked)
    if not all(item.passed for item in checked):
        raise typer.Exit(ExitCode.NOT_IMPROVED)


def _compare(
    opened: OpenTarget, prepared: PreparedRecipe, split: Split, evaluation: Evaluation
) -> dict[str, Any] | None:
    """Compare a score with the manifest's; return None if the manifest has none."""
    from lmpipe.report.run_files import recorded_score

    if opened.artifact is None:
        return None
    recorded = recorded_score(opened.artifact.path, opened.artifact.manifest, split.value)
    if recorded is None:
        return None
    manifest, identity = opened.artifact.manifest, prepared.identity
    changed = [
        name
        for name, same in {
            "LM": opened.has_compiled_lm,
            "metric": manifest["metric"] == identity["metric"],
            "program": manifest["program"].get("source") == identity["program"]["source"],
        }.items()
        if not same
    ]
    return {"recorded": recorded, "reproduced": recorded == evaluation.score, "changed": changed}


def _print_json(
    opened: OpenTarget,
    split: str,
    evaluation: Evaluation,
    verdict: dict[str, Any] | None,
    extra: dict[str, Any],
) -> None:
    summary = {
        "target": opened.name,
        "split": split,
        **evaluation.summary(),
        "fresh_calls": evaluation.fresh_calls,
        "spend": {**evaluation.spend.to_json(), "fresh": evaluation.spend.total.fresh_json()},
        "latency": {"median": evaluation.latency(0.5), "p95": evaluation.latency(0.95)},
        "waiting": {"median": evaluation.waiting(0.5), "p95": evaluation.waiting(0.95)},
        "compile": verdict,
        **extra,
    }
    typer.echo(dump_json(summary, default=dict).decode())


def _gates_json(
    gate: GateOptions, compared: ScoreComparison | None, checked: Sequence[Gate]
) -> dict[str, Any]:
    """Return what there is to say of gates; nothing if there are none."""
    if not checked:
        return {}
    found: dict[str, Any] = {"passed": all(item.passed for item in checked)}
    found["gates"] = [item.to_json() for item in checked]
    if compared is not None:
        found["baseline"] = {"run": str(gate.baseline), **compared.to_json()}
    return found


def _print_gates(
    gate: GateOptions, compared: ScoreComparison | None, checked: Sequence[Gate]
) -> None:
    from lmpipe.report.comparison.terminal import print_score_comparison
    from lmpipe.report.terminal import make_console, say

    console = make_console()
    if compared is not None:
        say(console)
        names = (f"baseline {gate.baseline}", "this program")
        print_score_comparison(console, compared, names=names, rows=0)
    for item in checked:
        word, style = ("passed", "green") if item.passed else ("not passed", "red")
        say(console, f"{word}: --{item.name}: {item.message}", style=style)


def _print(
    opened: OpenTarget,
    examples: str,
    evaluation: Evaluation,
    verdict: dict[str, Any] | None,
    number_of_worst: int,
) -> None:
    from lmpipe.foundation.plural import plural
    from lmpipe.report.terminal import make_console, print_evaluation, print_worst, say
    from lmpipe.report.text import percent

    console = make_console()
    rows = plural(len(evaluation.rows), "row")
    title = f"{opened.name}: {examples}, {rows}, {opened.student}"
    print_evaluation(console, evaluation, title=title)
    if verdict and verdict["reproduced"]:
        say(console, "reproduces the compile's score exactly", style="green")
    elif verdict:
        why = f" ({' and '.join(verdict['changed'])} changed since)" if verdict["changed"] else ""
        recorded = percent(verdict["recorded"])
        say(console, f"differs from the compile's score, {recorded}{why}", style="yellow")
    wrong = (row for row in evaluation.rows if row.failure or row.score.value < 1)
    worst = nsmallest(number_of_worst, wrong, key=lambda row: (row.score.value, not row.failure))
    print_worst(console, worst)
