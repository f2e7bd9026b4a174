"""Print a list of runs in the width of the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
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
    columns = {name: [write(run) for run in runs] for name, write in _COLUMNS.items()}
    wide = console.options.update(max_width=_ANY_WIDTH)
    shown = columns
    for left_out in range(len(_LEFT_OUT) + 1):
        shown = {n: texts for n, texts in columns.items() if n not in _LEFT_OUT[:left_out]}
        # A table of the widest texts is as wide as that of all, and measured in no time.
        widest = {n: [max(texts, key=lambda text: text.cell_len)] for n, texts in shown.items()}
        if Measurement.get(console, wide, _table(widest)).maximum <= console.width:
            break
    console.print(_table(shown))


def _table(columns: Mapping[str, Sequence[Text]]) -> Table:
    table = make_table(*columns, right=_RIGHT)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _if_tested(run: _Entry, text: Callable[[], str]) -> Text:
    return Text(NOTHING if run["compiled"] is None else text())


def _scores(run: _Entry) -> str:
    return f"{percent(run['baseline'])} → {percent(run['compiled'])}"


_COLUMNS: Mapping[str, Callable[[_Entry], Text]] = {
    "started": lambda run: Text(run["started"][:16].replace("T", " ")),
    "program": lambda run: Text(run["program"]),
    "status": lambda run: Text(run["status"], style="" if run["status"] == "done" else "yellow"),
    "optimizer": lambda run: Text(run["optimizer"]),
    "baseline → compiled": lambda run: _if_tested(run, lambda: _scores(run)),
    "difference": lambda run: _if_tested(run, lambda: points(run["difference"])),
    "interval": lambda run: _if_tested(run, lambda: points_range(run["interval"])),
    "LM calls": lambda run: Text(NOTHING if run["calls"] is None else count(run["calls"])),
    "dollars": lambda run: Text(money(run["usd"])),
    "folder": lambda run: Text(run["folder"]),
}
