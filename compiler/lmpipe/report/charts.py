"""Charts of the report page as inline SVG; colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lmpipe.report.text import count, is_complete, percent, points, standing_line


def score_chart(scores: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Test scores as points with their 95 % intervals, one line for each program.

    Args:
        scores: names and summaries; the last one is the compiled program.
    """
    left, width, line = 110, 560, 34
    height = line * len(scores) + 30
    low = min(item["interval"][0] for _, item in scores)
    high = max(item["interval"][1] for _, item in scores)
    start, end = _tens(low, high)

    def x(value: float) -> float:
        return left + (value - start) / (end - start) * (width - left - 60)

    parts = [_open(width, height, "Test scores with 95 % intervals")]
    for tick in _ticks(start, end):
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{height - 24}"/>'
            f'<text class="tick" x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle">'
            f"{100 * tick:.0f}%</text>"
        )
    for number, (name, item) in enumerate(scores):
        y = number * line + line / 2
        kind = "new" if number == len(scores) - 1 else "old"
        low, high = item["interval"]
        parts.append(
            f'<text class="label" x="0" y="{y + 4}">{escape(name)}</text>'
            + _whisker(x(low), x(high), y, kind)
            + f'<circle class="dot {kind}" cx="{x(item["score"]):.1f}" cy="{y}" r="6"/>'
            f'<text class="value" x="{width}" y="{y + 4}" text-anchor="end">'
            f"{percent(item['score'])}</text>"
        )
    return "".join(parts) + "</svg>"


def difference_chart(difference: float, interval: Sequence[float]) -> str:
    """The difference as a point with its paired interval, beside the line of no difference."""
    width, height, y = 560, 64, 22
    low, high = min(interval[0], 0.0), max(interval[1], 0.0)
    margin = 0.08 * ((high - low) or 1.0)
    low, high = low - margin, high + margin

    def x(value: float) -> float:
        return 20 + (value - low) / (high - low) * (width - 40)

    kind = "good" if interval[0] > 0 else "bad" if interval[1] < 0 else "unsure"
    return (
        _open(width, height, "Difference in points with its paired 95 % interval")
        + f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="2" y2="42"/>'
        f'<text class="tick" x="{x(0):.1f}" y="58" text-anchor="middle">no difference</text>'
        + _whisker(x(interval[0]), x(interval[1]), y, kind)
        + f'<circle class="dot {kind}" cx="{x(difference):.1f}" cy="{y}" r="7"/>'
        + "".join(
            f'<text class="tick" x="{x(value):.1f}" y="42" text-anchor="middle">'
            f"{points(value)}</text>"
            for value in dict.fromkeys(interval)
            if abs(x(value) - x(0)) > 30
        )
        + "</svg>"
    )


def search_chart(candidates: Sequence[Mapping[str, Any]]) -> str:
    """Validation scores and the best so far, against the LM calls made until then.

    Candidates that did not meet all examples have a score of harder ones: they are crosses in a
    strip of their own below the scale.
    """
    strip = 0 if all(is_complete(item) for item in candidates) else 34
    left, right, top, width, height = 64, 20, 12, 860, 260 + strip
    bottom = height - 42 - strip
    most = max((item["spent"] for item in candidates), default=0) or 1
    whole = [item for item in candidates if is_complete(item)]
    scores = [item["score"] for item in whole] or [0.0]
    start, end = _tens(min(scores), max(scores))

    def x(calls: float) -> float:
        return left + calls / most * (width - left - right)

    def y(score: float) -> float:
        return bottom - (score - start) / (end - start) * (bottom - top)

    parts = [_open(width, height, "Validation score against LM calls")]
    for tick in _ticks(start, end):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/><text class="tick" x="{left - 8}" y="{y(tick) + 4:.1f}" '
            f'text-anchor="end">{100 * tick:.0f}%</text>'
        )
    for calls in _round_numbers(most):
        parts.append(
            f'<text class="tick" x="{x(calls):.1f}" y="{bottom + strip + 18}" '
            f'text-anchor="middle">{count(calls)}</text>'
        )
    parts.append(
        f'<text class="tick" x="{(left + width - right) / 2}" y="{height - 4}" '
        'text-anchor="middle">LM calls, cached ones included</text>'
    )
    parts.append(f'<path class="best" d="{_steps(whole, x, y, width - right)}"/>')
    if strip:
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{bottom + strip - 2}" text-anchor="end">'
            f'dropped</text><line class="grid" x1="{left}" x2="{width - right}" '
            f'y1="{bottom + strip - 6}" y2="{bottom + strip - 6}"/>'
        )
    best = -1.0
    for item in candidates:
        if not is_complete(item):
            parts.append(_cross(item, x(item["spent"]), bottom + strip - 6))
            continue
        kind = "new" if item["score"] > best else "old"
        best = max(best, item["score"])
        parts.append(
            f'<circle class="dot {kind}" cx="{x(item["spent"]):.1f}" cy="{y(item["score"]):.1f}" '
            f'r="5"><title>{escape(str(item["name"]))}: {percent(item["score"])} after '
            f"{count(item['spent'])} calls</title></circle>"
        )
    return "".join(parts) + "</svg>"


def _cross(item: Mapping[str, Any], x: float, y: float) -> str:
    return (
        f'<path class="cross" d="M{x - 4:.1f},{y - 4}l8,8m0,-8l-8,8">'
        f"<title>{escape(str(item['name']))}: {standing_line(item)}, after "
        f"{count(item['spent'])} calls</title></path>"
    )


def bar(share: float) -> str:
    """A small bar for a score in a table."""
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rail" width="100" height="8" rx="2"/>'
        f'<rect class="fill" width="{100 * min(max(share, 0.0), 1.0):.1f}" height="8" rx="2"/>'
        "</svg>"
    )


def _open(width: int, height: int, label: str) -> str:
    return f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'


def _whisker(low: float, high: float, y: float, kind: str) -> str:
    return (
        f'<line class="whisker {kind}" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
        f'<line class="whisker {kind}" x1="{low:.1f}" x2="{low:.1f}" y1="{y - 5}" y2="{y + 5}"/>'
        f'<line class="whisker {kind}" x1="{high:.1f}" x2="{high:.1f}" y1="{y - 5}" y2="{y + 5}"/>'
    )


def _steps(candidates: Sequence[Mapping[str, Any]], x: Any, y: Any, end: float) -> str:
    path, best = "", -1.0
    for item in candidates:
        if item["score"] <= best:
            continue
        best = item["score"]
        place = f"{x(item['spent']):.1f}"
        path += f"H{place}V{y(best):.1f}" if path else f"M{place},{y(best):.1f}"
    return f"{path}H{end}"


def _tens(low: float, high: float) -> tuple[float, float]:
    """The range of an axis: whole tens of percent around the values."""
    start, end = int(low * 10 + 1e-9) / 10, -int(-high * 10 + 1e-9) / 10
    if end < high - 1e-9:
        end += 0.1
    if end - start < 0.15:
        start, end = max(0.0, start - 0.1), min(1.0, end + 0.1)
    return start, end


def _ticks(start: float, end: float) -> list[float]:
    first, last = round(start * 10), round(end * 10)
    step = 2 if last - first > 5 else 1
    return [number / 10 for number in range(first, last + 1) if number % step == 0]


def _round_numbers(most: float) -> list[float]:
    """At most seven round numbers from 0 up."""
    power = 10 ** (len(str(int(most))) - 1)
    steps = (power * part / 10 for part in (1, 2, 5, 10, 20, 50))
    step = max(next(step for step in steps if most / step <= 6), 1)
    return [step * number for number in range(int(most // step) + 1)]
