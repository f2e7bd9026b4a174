"""Print tables: a finished compile, a plan, an evaluation, a list of runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lmpipe.compiling.budget_floor import budget_problem
from lmpipe.compiling.recipe import LM_SOURCES
from lmpipe.compiling.server_specs import server_schedule
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.foundation.media import without_bytes
from lmpipe.foundation.plural import plural
from lmpipe.foundation.printable import printable
from lmpipe.foundation.shorten import one_line
from lmpipe.lm.spend import Account, Spend
from lmpipe.modules.binding import uncounted_uses
from lmpipe.modules.module import Predictor
from lmpipe.report.text import (
    NOTHING,
    correction_line,
    count,
    difference_line,
    duration,
    fresh_calls,
    money,
    percent,
    percent_range,
    proposals_line,
    racing_line,
    spend_line,
    standing_line,
    tally,
    verdict_line,
)
from lmpipe.signatures.signature import result_to_json

if TYPE_CHECKING:
    from lmpipe.compiling.recipe import PreparedRecipe
    from lmpipe.compiling.run import Run
    from lmpipe.optimize.engine.budget import Budget
    from lmpipe.report.records import Ablation

# Wide enough that nothing is wrapped in a pipe or a log.
_PIPED_WIDTH = 200


class _PrintableConsole(Console):
    """A console that leaves out escape sequences in texts, which may come from anywhere."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def make_console(*, stderr: bool = False) -> Console:
    """Make a console for standard output or error; piped output is plain and not wrapped."""
    file = sys.stderr if stderr else sys.stdout
    console = _PrintableConsole(file=file, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def make_table(*columns: str, right: Sequence[str] = ()) -> Table:
    """Make a table of columns by their titles; those in `right` are aligned to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def say(console: Console, text: str = "", *, style: str = "") -> None:
    """Print one line as it is, without wrapping."""
    console.print(Text(text, style=style), soft_wrap=True)


def print_run(console: Console, run: Run) -> None:
    """Print the result of a compile: scores, difference, spend."""
    from lmpipe.report.records import Ablation, Test

    say(console)
    console.print(_score_table(run))
    say(console)
    if run.test:
        test = Test.model_validate(run.test.to_json())
        style = "green" if run.test.improved else "yellow"
        say(console, difference_line(test), style=style)
        say(console, verdict_line(test), style=style)
    else:
        say(console, "not tested: these scores are of the examples that chose the winner")
    if run.overfitting:
        say(console, run.overfitting.sentence, style="yellow")
    best = run.best
    say(console, f"compiled: {best.name} (candidate {best.number})")
    tested = run.test.evaluations["compiled"] if run.test else None
    if checks := (tested or best.evaluation).checks:
        say(console, f"checks of its answers: {checks}")
    complete = sum(candidate.complete for candidate in run.candidates)
    if run.validation_estimate is not None and complete > 1:
        say(console, correction_line(best.score, run.validation_estimate, complete))
    if not best.complete:
        line = standing_line(len(best.evaluation.rows), best.of, stopped=best.stopped)
        say(console, f"it was {line}", style="yellow")
    if run.racing.runs:
        say(console, racing_line(run.racing.runs, run.racing.of))
    if run.proposals.unusable:
        say(console, proposals_line(**run.proposals.to_json()), style="yellow")
    if run.stopped:
        say(console, f"the search ended early: {run.stopped}", style="yellow")
    say(console, f"spent: {spend_line(run.account.total)} in {duration(run.seconds)}")
    print_account(console, run.account)
    if run.ablation:
        say(console)
        print_ablation(console, Ablation.model_validate(run.ablation.to_json()))


def print_ablation(console: Console, ablation: Ablation) -> None:
    """Print which part of the result did it, with a table of all of its parts."""
    from lmpipe.report.ablation import ablation_line, ablation_notes, ablation_table

    say(console, f"what did it: {ablation_line(ablation)}")
    if not ablation.parts:
        return
    made = ablation_table(ablation)
    titles = [column.title for column in made.columns]
    right = [column.title for column in made.columns if column.kind == "number"]
    shown = make_table(*titles, right=right)
    for row in made.rows:
        lines = (f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row.cells)
        shown.add_row(*map(Text, lines))
    console.print(shown)
    for note in ablation_notes(ablation):
        say(console, note, style="dim")


def _score_table(run: Run) -> Table:
    right = ("train", "validation", "corrected", "test")
    table = make_table("", *right, "95 % interval", "failures", right=right)
    by_state = {candidate.state.hash: candidate for candidate in run.candidates}
    names = set(run.test.evaluations) if run.test else {"as declared", "constrained"}
    baselines = {c.name: c for c in run.candidates if c.name in names - {"compiled"}}
    for name, candidate in {**baselines, "compiled": by_state[run.state.hash]}.items():
        tested = run.test.evaluations.get(name) if run.test else None
        shown = tested or candidate.evaluation
        table.add_row(
            Text(name, style="bold" if name == "compiled" else ""),
            percent(run.train.score) if run.train and name == "compiled" else NOTHING,
            percent(candidate.score) if candidate.complete else NOTHING,
            percent(run.validation_estimate) if name == "compiled" else NOTHING,
            percent(tested.score) if tested else NOTHING,
            percent_range((shown.interval.low, shown.interval.high)),
            tally(shown.failures),
        )
    return table


def print_account(console: Console, account: Account) -> None:
    """Print spend by role, predictor and LM; nothing if there is only one of each."""
    tables = {"role": account.by_role, "predictor": account.by_predictor, "LM": account.by_lm}
    if all(len(table) < 2 for table in tables.values()):
        return
    right = ("LM calls", "fresh", "prompt tokens", "reply tokens", "dollars")
    shown = make_table("spent on", "", *right, right=right)
    for kind, table in tables.items():
        if len(table) < 2 and kind != "role":
            continue
        for number, (name, spend) in enumerate(table.items()):
            shown.add_row("" if number else kind, Text(name), *_spend_cells(spend))
    shown.add_row(Text("all", style="bold"), "", *_spend_cells(account.total))
    say(console)
    console.print(shown)


def _spend_cells(spend: Spend) -> list[str]:
    return [
        count(spend.calls),
        count(spend.fresh_calls),
        count(spend.usage.prompt_tokens),
        count(spend.usage.completion_tokens),
        money(spend.usd),
    ]


def plan_json(prepared: PreparedRecipe) -> dict[str, Any]:
    """Return the plan of a compile as JSON: its phases, their worst case, and the budget."""
    plan, budget, lms = prepared.plan(), prepared.recipe.budget, prepared.lms
    total = plan.total
    over = _over(budget, plan.before_ablation)
    return {
        "name": prepared.name,
        "data": {name: len(getattr(prepared, name)) for name in ("train", "val", "test")},
        "student": str(lms.student),
        "student_source": prepared.lm_source("student"),
        "teacher": str(lms.teacher),
        "proposer": str(lms.proposer) if plan.asks else None,
        "judge": str(lms.judge) if lms.judge else None,
        "judge_source": prepared.lm_source("judge") if lms.judge else None,
        "embedder": str(lms.embedder) if lms.embedder else None,
        "optimizer": {"name": prepared.optimizer.name, "settings": prepared.optimizer.settings()},
        "seed": prepared.recipe.seed,
        "calls_per_run": plan.calls_per_run,
        "uncounted": uncounted_uses(prepared.recipe.program, Predictor),
        "judge_calls_per_run": plan.judge_calls,
        "asks": plan.asks,
        "open_ended": plan.open_ended,
        "phases": [
            {
                "phase": phase.label,
                "runs": phase.runs,
                "calls": phase.worst.calls,
                "tokens": phase.worst.tokens,
                "usd": phase.worst.usd,
            }
            for phase in plan.phases
        ],
        "total": {
            "runs": sum(phase.runs for phase in plan.phases),
            "calls": total.calls,
            "tokens": total.tokens,
            "usd": total.usd,
        },
        "servers": server_schedule(prepared),
        "budget": budget.to_json(),
        "too_small": budget_problem(prepared),
        "covered": not over,
        "over": over,
        "ablation_covered": not _over(budget, total),
    }


def _over(budget: Budget, worst: Spend) -> list[str]:
    """Name the limits of a budget that a spend exceeds."""
    limits = {name: getattr(budget, name) for name in ("calls", "tokens", "usd")}
    return [name for name, cap in limits.items() if cap is not None and getattr(worst, name) > cap]


def print_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Print the maximum work and spend of a compile."""
    data = ", ".join(f"{name} {count(size)}" for name, size in plan["data"].items())
    say(console, f"plan for {plan['name']}: no LM was called, nothing was written", style="bold")
    say(console, f"  data       {data}")
    say(console, f"  student    {_named(plan, 'student')}")
    if plan["teacher"] != plan["student"]:
        say(console, f"  teacher    {plan['teacher']}")
    if plan["proposer"] is not None:
        asks = plural(plan["asks"], "time")
        say(console, f"  proposer   {plan['proposer']}, asked at most {asks}")
    if plan["judge"] is not None:
        calls = plural(plan["judge_calls_per_run"], "LM call")
        say(console, f"  judge      {_named(plan, 'judge')}, at most {calls} for each row")
    if plan["embedder"] is not None:
        say(console, f"  embedder   {plan['embedder']}")
    settings = plan["optimizer"]["settings"]
    shown = ", ".join(f"{key}={value}" for key, value in settings.items() if key != "name")
    say(console, f"  optimizer  {plan['optimizer']['name']}" + (f" ({shown})" if shown else ""))
    say(console, f"  seed       {plan['seed']}")
    say(console)
    _print_phases(console, plan)
    if plan["uncounted"]:
        say(
            console,
            f"these are not maximums: {', '.join(plan['uncounted'])} is used in a loop whose "
            "length is not known; set `max_calls = …` on the program's class",
            style="yellow",
        )
    if plan["open_ended"]:
        say(
            console,
            f"these are not maximums: what {plan['optimizer']['name']} asks in its search is not "
            "known in advance, and not counted; only a budget bounds it",
            style="yellow",
        )
    say(console)
    for number, line in enumerate(plan["servers"]):
        say(console, ("servers    " if number == 0 else " " * 11) + line)
    if plan["servers"]:
        say(console)
    _print_budget(console, plan)


def _print_phases(console: Console, plan: Mapping[str, Any]) -> None:
    right = ("runs", "LM calls, at most", "tokens, at most", "dollars, at most")
    table = make_table("phase", *right, right=right)
    for phase in [*plan["phases"], {"phase": "all", **plan["total"]}]:
        table.add_row(
            Text(phase["phase"], style="bold" if phase["phase"] == "all" else ""),
            count(phase["runs"]),
            count(phase["calls"]),
            count(phase["tokens"]),
            "price unknown" if phase["usd"] is None else money(phase["usd"]),
        )
    console.print(table)


def _print_budget(console: Console, plan: Mapping[str, Any]) -> None:
    """Say whether the budget covers the plan."""
    given = {name: value for name, value in plan["budget"].items() if value is not None}
    limits = ", ".join(f"{name}={value:g}" for name, value in given.items())
    if not limits:
        say(console, "no budget: set one with --budget calls=2000,usd=1")
    elif plan["too_small"]:
        say(console, plan["too_small"], style="red")
    elif plan["covered"] and "seconds" in given:
        say(
            console,
            f"the budget ({limits}) limits the time, which is not known in advance: when the time "
            "that is kept for the test is reached, the search stops, and the best state so far is "
            "tested and saved",
        )
    elif plan["covered"] and plan["open_ended"]:
        say(
            console,
            f"the budget ({limits}) bounds the search: when it ends, the best state so far is "
            "tested and saved",
        )
    elif plan["covered"]:
        of_it = "all of it"
        if not plan["ablation_covered"]:
            of_it = "all but the last phase, which gets what the others leave"
        say(console, f"the budget ({limits}) covers {of_it}", style="green")
    else:
        say(
            console,
            f"the budget ({limits}) may end first, in {', '.join(plan['over'])}: the "
            "search then stops, and the best state so far is tested and saved",
            style="yellow",
        )


def _named(plan: Mapping[str, Any], role: str) -> str:
    """Name the LM of a role, and say why it is used if the recipe does not name it."""
    words = LM_SOURCES[plan[f"{role}_source"]]
    return f"{plan[role]} ({words})" if words else str(plan[role])


def print_evaluation(console: Console, evaluation: Evaluation, *, title: str) -> None:
    """Print the summary of an evaluation."""
    interval = (evaluation.interval.low, evaluation.interval.high)
    usage = evaluation.usage
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_row("score", Text(percent(evaluation.score), style="bold"))
    table.add_row("95 % interval", percent_range(interval))
    for name, value in evaluation.parts.items():
        table.add_row(Text(f"  {name}", style="dim"), f"{value:.4g}")
    table.add_row("failures", tally(evaluation.failures))
    if evaluation.checks:
        table.add_row("checks", str(evaluation.checks))
    calls = f"{count(evaluation.calls)} ({fresh_calls(evaluation.spend.total)})"
    table.add_row("LM calls", calls)
    table.add_row(
        "tokens", f"{count(usage.prompt_tokens)} prompt, {count(usage.completion_tokens)} reply"
    )
    unknown = "unknown: no price given for " + ", ".join(
        name for name, spend in evaluation.spend.by_lm.items() if spend.usd is None
    )
    table.add_row("dollars", unknown if evaluation.usd is None else money(evaluation.usd))
    if evaluation.fresh_calls:
        table.add_row("latency", _quantiles(evaluation.latency))
        table.add_row("waiting", f"{_quantiles(evaluation.waiting)}, for limits and retries")
    else:
        table.add_row("latency", "all replies came from the cache")
    say(console, title, style="bold")
    console.print(table)
    print_account(console, evaluation.spend)


def _quantiles(of: Callable[[float], float]) -> str:
    return f"median {duration(of(0.5))}, p95 {duration(of(0.95))}"


def print_worst(console: Console, rows: Sequence[Row]) -> None:
    """Print rows with everything that explains their scores."""
    for row in rows:
        say(console)
        say(console, f"row {row.index + 1}: {percent(row.score.value)}", style="bold")
        values: dict[str, Any] = {
            "inputs": without_bytes(result_to_json(dict(row.example.inputs))),
            "gold": result_to_json(dict(row.example.labels)),
            "prediction": result_to_json(row.prediction),
        }
        if row.score.feedback:
            values["feedback"] = row.score.feedback
        if row.failure:
            values["failure"] = f"{row.failure.kind}: {one_line(row.failure.message)}"
        for number, reply in enumerate(row.replies, start=1):
            values["reply" if len(row.replies) == 1 else f"reply {number}"] = reply
        for name, value in values.items():
            say(console, f"  {name:<11}{one_line(value, 1000)}")
