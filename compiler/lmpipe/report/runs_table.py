"""Print a list of runs in the width of the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lmpipe.report.terminal import make_table
from lmpipe.report.text import NOTHING, count, money, percent, points, points_range

_Entry = Mapping[str, Any]

# What a narrow terminal leaves out first; the name of a folder begins with the time and the
# program. `--json` has everything.
_LEFT_OUT = ("interval", "started", "program", "dollars", "optimizer", "LM calls")
_RIGHT = ("baseline → compiled", "difference", "interval", "LM calls", "dollars")
_ANY_WIDTH = 10_000


def print_runs(console: Console, runs: Sequence[_Entry]) -> None:
    """Print a list of runs, as `lmpipe.report.run_list.list_runs` returns it."""
    left_out = 0
    while True:
        shown = [name for name in _COLUMNS if name not in _LEFT_OUT[:left_out]]
        table = _table(shown, runs)
        wide = console.options.update(max_width=_ANY_WIDTH)
        needed = Measurement.get(console, wide, table).maximum
        if needed <= console.width or left_out == len(_LEFT_OUT):
            console.print(table)
            return
        left_out += 1


def _table(names: Sequence[str], runs: Sequence[_Entry]) -> Table:
    table = make_table(*names, right=_RIGHT)
    for run in runs:
        table.add_row(*[_COLUMNS[name](run) for name in names])
    return table


def _scores(run: _Entry) -> str:
    if run["compiled"] is None:
        return NOTHING
    return f"{percent(run['baseline'])} → {percent(run['compiled'])}"


_COLUMNS: Mapping[str, Callable[[_Entry], RenderableType]] = {
    "started": lambda run: run["started"][:16].replace("T", " "),
    "program": lambda run: Text(run["program"]),
    "status": lambda run: Text(run["status"], style="" if run["status"] == "done" else "yellow"),
    "optimizer": lambda run: Text(run["optimizer"]),
    "baseline → compiled": _scores,
    "difference": lambda run: NOTHING if run["compiled"] is None else points(run["difference"]),
    "interval": lambda run: NOTHING if run["compiled"] is None else points_range(run["interval"]),
    "LM calls": lambda run: NOTHING if run["calls"] is None else count(run["calls"]),
    "dollars": lambda run: money(run.get("usd")),
    "folder": lambda run: Text(run["folder"]),
}
