"""Axes and contents of the page's charts; `templates/charts.html.j2` draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lmpipe.report.records import AblatedPart, Candidate, Scores, Test
from lmpipe.report.text import count, money

# A chart of more candidates is thinned; the best ones so far all stay.
_MAX_MARKS = 1000


@dataclass(frozen=True)
class Scale:
    """An axis.

    Positions are percentages of its length, so that only the axis is narrower on a phone, and not
    the text.
    """

    start: float
    end: float
    ticks: tuple[float, ...] = ()

    def at(self, value: float) -> float:
        """Return the position of a value in percent, within the axis."""
        share = (value - self.start) / (self.end - self.start)
        return round(100 * min(max(share, 0.0), 1.0), 2)


@dataclass(frozen=True)
class ScoreChart:
    """Test scores with their intervals by program, the compiled one last, and their difference."""

    scale: Scale
    scores: Sequence[tuple[str, Scores]]
    difference: Scale


@dataclass(frozen=True)
class SpendAxis:
    """What a compile had spent when a candidate was scored: calls, tokens or dollars."""

    name: Literal["calls", "tokens", "dollars"]
    title: str
    x: Scale

    def spent(self, candidate: Candidate) -> float:
        """Return what was spent until then."""
        return _SPENT[self.name](candidate)

    def at(self, candidate: Candidate) -> float:
        """Return the position of a candidate, in percent."""
        return self.x.at(self.spent(candidate))

    def text(self, value: float) -> str:
        """Write an amount of it."""
        return money(value) if self.name == "dollars" else count(value)

    def after(self, candidate: Candidate) -> str:
        """Say after how much a candidate was scored."""
        noun = {"calls": " LM calls", "tokens": " tokens", "dollars": ""}[self.name]
        return f"{self.text(self.spent(candidate))}{noun}"


# Amounts that an axis can show; a file may hold any number.
_LEAST, _MOST = 1e-9, 1e15

_SPENT: Mapping[str, Callable[[Candidate], float]] = {
    "calls": lambda item: item.spent,
    "tokens": lambda item: item.spent_tokens,
    "dollars": lambda item: item.spent_usd or 0.0,
}
_AXIS_TITLES: Mapping[Literal["calls", "tokens", "dollars"], str] = {
    "calls": "LM calls, cached ones included",
    "tokens": "tokens, cached ones included",
    "dollars": "dollars, cached calls at full price",
}


@dataclass(frozen=True)
class SearchChart:
    """Validation scores (`y`) against what the compile had spent until then.

    There is an axis for everything that is known to have been spent; that of calls comes first.

    The scores of incomplete candidates are of the harder examples, which come first, so they are
    drawn below the scale. Improvements were better than all candidates before them.
    """

    axes: Sequence[SpendAxis]
    y: Scale
    complete: Sequence[Candidate]
    incomplete: Sequence[Candidate]
    improvements: Sequence[Candidate]

    def improves(self, candidate: Candidate) -> bool:
        """Whether a candidate was better than all before it."""
        return any(candidate is item for item in self.improvements)


@dataclass(frozen=True)
class EffectChart:
    """What each part adds, as a bar from zero with the interval of the difference."""

    scale: Scale
    parts: Sequence[AblatedPart]


@dataclass(frozen=True)
class FrontChart:
    """Validation scores (`y`) against the tokens of a run (`x`), for complete candidates.

    The front is in the order of its tokens; `others` are not on it. `winner` is a number.
    """

    x: Scale
    y: Scale
    front: Sequence[Candidate]
    others: Sequence[Candidate]
    winner: int | None


def score_chart(test: Test, names: Sequence[str]) -> ScoreChart:
    """Lay out the final comparison; `names` is the order of the programs."""
    scores = [(name, test.scores[name]) for name in names]
    return ScoreChart(
        score_scale([end for _, item in scores for end in item.interval]),
        scores,
        _difference_scale(test.interval),
    )


def effect_chart(parts: Sequence[AblatedPart]) -> EffectChart:
    """Lay out what each part adds."""
    return EffectChart(
        _difference_scale([end for part in parts for end in part.without.interval]), parts
    )


def search_chart(candidates: Sequence[Candidate]) -> SearchChart:
    """Lay out the search."""
    complete = [item for item in candidates if item.complete]
    better = tuple(improvements(complete))
    numbers = {item.number for item in better}
    step = -(-len(candidates) // _MAX_MARKS)
    shown = [
        item for place, item in enumerate(candidates) if place % step == 0 or item.number in numbers
    ]
    return SearchChart(
        spend_axes(candidates),
        score_scale([item.score for item in complete] or [0.0]),
        [item for item in shown if item.complete],
        [item for item in shown if not item.complete],
        better,
    )


def spend_axes(candidates: Sequence[Candidate]) -> list[SpendAxis]:
    """Return the axes of what is known to have been spent."""
    axes = []
    for name, title in _AXIS_TITLES.items():
        if name == "dollars" and any(item.spent_usd is None for item in candidates):
            continue
        most = max((_SPENT[name](item) for item in candidates), default=0)
        if name == "calls" or _LEAST <= most < _MOST:
            scale = _amount_scale(most) if name == "dollars" else _count_scale(int(most) or 1)
            axes.append(SpendAxis(name, title, scale))
    return axes


def front_chart(
    candidates: Sequence[Candidate], front: Sequence[Candidate], winner: int | None
) -> FrontChart:
    """Lay out the front of score against tokens."""
    complete = [item for item in candidates if item.complete and item.run_tokens is not None]
    numbers = {item.number for item in front}
    step = -(-len(complete) // _MAX_MARKS)
    others = [item for item in complete if item.number not in numbers]
    shown = [
        item for place, item in enumerate(others) if place % step == 0 or item.number == winner
    ]
    return FrontChart(
        _count_scale(math.ceil(max(item.run_tokens or 0.0 for item in complete)) or 1),
        score_scale([item.score for item in complete]),
        front,
        shown,
        winner,
    )


def improvements(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield the candidates that were better than all before them."""
    best = -1.0
    for item in candidates:
        if item.score > best:
            best = item.score
            yield item


def score_scale(scores: Sequence[float]) -> Scale:
    """Return a scale of whole tens of percent around scores."""
    start = math.floor(min(scores) * 10 + 1e-9)
    end = math.ceil(max(scores) * 10 - 1e-9)
    if end - start < 2:
        start, end = max(0, start - 1), min(10, end + 1)
    step = 2 if end - start > 5 else 1
    ticks = tuple(tick / 10 for tick in range(start, end + 1) if tick % step == 0)
    return Scale(start / 10, end / 10, ticks)


def _difference_scale(ends: Sequence[float]) -> Scale:
    """Return a scale around zero and the ends of intervals of differences."""
    low, high = min(*ends, 0.0), max(*ends, 0.0)
    margin = 0.08 * ((high - low) or 1.0)
    return Scale(low - margin, high + margin)


def _count_scale(most: int) -> Scale:
    """Return a scale from 0 with at most six round numbers."""
    power = 10 ** (len(str(most)) - 1)
    steps = (power * part / 10 for part in (1, 2, 5, 10, 20, 50))
    step = max(int(next(step for step in steps if most / step < 6)), 1)
    return Scale(0, most, tuple(range(0, most + 1, step)))


def _amount_scale(most: float) -> Scale:
    """Return a scale from 0 with at most six round amounts."""
    power = 10.0 ** math.floor(math.log10(most))
    step = next(power * part for part in (0.1, 0.2, 0.5, 1, 2) if most / (power * part) < 6)
    return Scale(0, most, tuple(step * place for place in range(int(most / step + 1e-9) + 1)))
