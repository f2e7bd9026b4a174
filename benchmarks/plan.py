"""The measurements of `overhead.py`, their sides and their goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

# The two libraries, DSPy's programs on lmpipe, and three bare clients that set the limits: HTTP
# over sockets, HTTP by aiohttp, and a read from diskcache.
SideName = Literal["lmpipe", "dspy", "from_dspy", "sockets", "aiohttp", "diskcache"]


@dataclass(frozen=True)
class Figure:
    """One number of a measurement.

    Args:
        key: its name in a side's output.
        title: its row in the table; `{calls}` is replaced by the number of calls.
        unit: its unit.
        goal: the required ratio to DSPy's figure, or None.
        higher: whether a higher figure is better.
        digits: decimal places.
    """

    key: str
    title: str
    unit: str = "calls/s"
    goal: float | None = None
    higher: bool = True
    digits: int = 0


@dataclass(frozen=True)
class Measurement:
    """One measurement: the same command for every side, each in a separate process.

    Args:
        name: its name for `--only`.
        command: the command of `sides/harness.py`.
        figures: its numbers.
        in_flight: concurrent calls.
        calls: measured calls or rows.
        demos: whether the prompt has demonstrations.
        cached: whether the cache is on and holds these calls.
        bare: the bare clients that measure the limits.
        dspy: whether DSPy takes part.
        once: whether to measure only one round.
        ours: the side that is compared with DSPy.
    """

    name: str
    command: str
    figures: tuple[Figure, ...]
    in_flight: int = 1
    calls: int = 2000
    demos: bool = False
    cached: bool = False
    bare: tuple[SideName, ...] = ()
    dspy: bool = True
    once: bool = False
    ours: SideName = "lmpipe"

    @property
    def sides(self) -> tuple[SideName, ...]:
        return (self.ours, *(("dspy",) if self.dspy else ()), *self.bare)

    def command_of(self, side: SideName) -> str:
        """Return the harness command that measures a side."""
        # A bare client knows only its own command.
        return "async" if side in ("sockets", "aiohttp") else self.command


def _fresh(command: str, title: str, in_flight: int, goal: float | None = None) -> Measurement:
    figure = Figure("per_second", f"{title}, {in_flight} in flight", goal=goal)
    bare: tuple[SideName, ...] = ("sockets", "aiohttp") if command == "async" else ()
    return Measurement(f"{command}-{in_flight}", command, (figure,), in_flight, bare=bare)


def _from_dspy(command: str, title: str) -> Measurement:
    """Measure the same DSPy program alone and by `from_dspy`."""
    figure = Figure("per_second", f"DSPy's program by from_dspy: {title}, 64 in flight", goal=3.0)
    return Measurement(f"from-dspy-{command}", command, (figure,), 64, ours="from_dspy")


def _cached(command: str, title: str, in_flight: int, goal: float | None = None) -> Measurement:
    figures = (
        Figure("warm_per_second", f"cached, {title}, second pass", goal=goal),
        Figure("disk_per_second", f"cached, {title}, fresh process"),
    )
    bare: tuple[SideName, ...] = ("diskcache",) if in_flight == 1 else ()
    return Measurement(command, command, figures, in_flight, cached=True, bare=bare)


def _memory(rows: int, *, dspy: bool) -> Measurement:
    title = "evaluate {calls:,} rows: memory beyond the data"
    figures: tuple[Figure, ...] = (Figure("grown_mb", title, "MB", None, False, 1),)
    if dspy:
        figures += (Figure("kb_per_row", "the same per row", "KB", None, False, 2),)
    return Measurement(f"memory-{rows // 1000}k", "memory", figures, 64, rows, dspy=dspy, once=True)


_ROWS = Figure("per_second", "evaluate {calls:,} examples, 64 in flight", "rows/s", goal=8.0)
_CACHED_ROWS = Figure("per_second", "the same from the cache on disk", "rows/s")

MEASUREMENTS: tuple[Measurement, ...] = (
    _fresh("async", "async", 1),
    _fresh("async", "async", 64, goal=10.0),
    _fresh("async", "async", 256),
    replace(
        _fresh("async", "async, 4 demonstrations", 64),
        name="async-64-demos",
        demos=True,
    ),
    _fresh("batch", "rows by the library's own batch", 64),
    _fresh("sync", "sync forward", 1),
    _fresh("sync", "sync forward", 64, goal=10.0),
    _fresh("sync", "sync forward", 256),
    _from_dspy("async", "async"),
    _from_dspy("sync", "sync forward"),
    _cached("cached-sync", "a plain loop", 1, goal=12.0),
    _cached("cached-async", "async, 64 in flight", 64),
    Measurement("evaluate", "evaluate", (_ROWS,), 64),
    Measurement("evaluate-cached", "evaluate-cached", (_CACHED_ROWS,), 64, cached=True),
    _memory(10_000, dspy=True),
    _memory(30_000, dspy=False),
    _memory(100_000, dspy=False),
)


def quick(measurement: Measurement) -> Measurement:
    """Return a smaller measurement, to try the benchmark."""
    divisor = 10 if measurement.command == "memory" else 5
    return replace(measurement, calls=measurement.calls // divisor)


def chosen(patterns: Sequence[str], measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the measurements whose names match a pattern, or all without patterns."""
    return [
        measurement
        for measurement in measurements
        if not patterns or any(fnmatchcase(measurement.name, pattern) for pattern in patterns)
    ]
