"""Plot the best validation score so far against LM calls, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from compiling.report import label
from compiling.side import Result

_WIDTH, _HEIGHT = 460, 330  # of one panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 42, 40
_COLORS = {"lmpipe": "#0b6e4f", "dspy": "#c0392b"}
_DASHES = {"random-search": "", "mipro": "7 3", "gepa": "2 3", "knn": "10 3 2 3"}
_KEY_ROW = 17


@dataclass(frozen=True)
class Steps:
    """One compile's best validation score so far, as (calls, percent), rising."""

    side: str
    name: str
    optimizer: str
    points: tuple[tuple[int, float], ...]


def best_so_far(result: Result) -> Steps:
    """The curve of a compile: the points that are better than all before, and the end."""
    points: list[tuple[int, float]] = []
    for calls, score in result.curve:
        if not points or score > points[-1][1]:
            points.append((calls, score))
    if points and result.search.calls > points[-1][0]:
        points.append((result.search.calls, points[-1][1]))
    name = f"{result.side} {label(result)}" + (f", seed {result.seed}" if result.seed else "")
    return Steps(result.side, name, result.optimizer, tuple(points))


def plot(results: Sequence[Result]) -> str:
    """An SVG with one panel per task that has a curve.

    The axis of calls is logarithmic, because one library makes many times the calls of the other.
    """
    panels: dict[str, list[Steps]] = {}
    for result in results:
        if (steps := best_so_far(result)).points:
            panels.setdefault(result.task, []).append(steps)
    most = max((len(curves) for curves in panels.values()), default=0)
    height = _HEIGHT + most * _KEY_ROW + 8
    width = _WIDTH * max(1, len(panels))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for place, (task, curves) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({place * _WIDTH} 0)">')
        parts += _panel(task, curves)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(task: str, curves: Sequence[Steps]) -> Iterator[str]:
    last = max(point[0] for steps in curves for point in steps.points)
    first = min(point[0] for steps in curves for point in steps.points)
    low = math.log10(max(1, first) / 1.25)
    high = max(math.log10(max(2, last) * 1.1), low + 0.5)
    inner, depth = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(calls: float) -> float:
        return round(_LEFT + inner * (math.log10(max(1, calls)) - low) / (high - low), 1)

    def y(score: float) -> float:
        return round(_TOP + depth * (1 - score / 100), 1)

    yield f'<text x="{_LEFT}" y="16" font-size="13" font-weight="bold">{escape(task)}</text>'
    for score in range(0, 101, 20):
        yield (
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(score)}" y2="{y(score)}" '
            'stroke="#ddd"/>'
            f'<text x="{_LEFT - 6}" y="{y(score) + 4}" text-anchor="end">{score}</text>'
        )
    for calls in _ticks(low, high):
        yield (
            f'<line x1="{x(calls)}" x2="{x(calls)}" y1="{_TOP}" y2="{_TOP + depth}" '
            'stroke="#eee"/>'
            f'<text x="{x(calls)}" y="{_TOP + depth + 15}" text-anchor="middle">{calls:,}</text>'
        )
    yield (
        f'<text x="{_LEFT + inner / 2}" y="{_HEIGHT - 8}" text-anchor="middle">LM calls of the '
        "search, as the server counted them</text>"
        f'<text x="{_LEFT}" y="{_TOP - 6}" fill="#666">best validation score so far, %</text>'
    )
    for place, steps in enumerate(curves):
        yield from _curve(steps, [(x(calls), y(score)) for calls, score in steps.points], place)


def _curve(steps: Steps, points: Sequence[tuple[float, float]], place: int) -> Iterator[str]:
    stroke = (
        f'stroke="{_COLORS.get(steps.side, "#333")}" stroke-width="1.8" '
        f'stroke-dasharray="{_DASHES.get(steps.optimizer, "")}"'
    )
    path = f"M{points[0][0]} {points[0][1]}"
    path += "".join(f"H{at}V{up}" for at, up in points[1:])
    yield f'<path d="{path}" fill="none" {stroke}/>'
    risen = {up: (at, up) for at, up in reversed(points)}  # where each score was first reached
    for at, up in risen.values():
        yield f'<circle cx="{at}" cy="{up}" r="2.4" fill="{_COLORS.get(steps.side, "#333")}"/>'
    key = _HEIGHT + 8 + place * _KEY_ROW
    end = steps.points[-1]
    yield (
        f'<line x1="{_LEFT}" x2="{_LEFT + 28}" y1="{key}" y2="{key}" {stroke}/>'
        f'<text x="{_LEFT + 36}" y="{key + 4}">{escape(steps.name)}: {end[1]:g} % in '
        f"{end[0]:,} calls</text>"
    )


def _ticks(low: float, high: float) -> Iterator[int]:
    for power in range(max(0, math.floor(low)), math.ceil(high) + 1):
        for tick in (10**power, 2 * 10**power, 5 * 10**power):
            if low <= math.log10(tick) <= high:
                yield tick
