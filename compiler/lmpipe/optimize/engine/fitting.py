"""Questions that fit into the proposer's context: fewer cases, then shorter values.

A question may hold `Cases` in place of a text. What a proposer is shown is bounded by its context
and by nothing else; what is left out for lack of room is said in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.plural import plural

# Values are not cut below this length, in characters: less tells nothing.
_SHORTEST = 80


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a proposer is shown, such as a run of the program.

    Args:
        parts: labels and values, such as `feedback: ` and the feedback; each becomes a line. A
            value may be cut, a label not.
    """

    parts: tuple[tuple[str, str], ...]

    def text(self, longest: int | None = None) -> str:
        """Write it, with values of at most `longest` characters."""
        return "\n".join(label + _cut(value, longest) for label, value in self.parts)

    @property
    def longest(self) -> int:
        """The length of its longest value."""
        return max((len(value) for _, value in self.parts), default=0)


@dataclass(frozen=True, slots=True)
class Cases:
    """Cases, the most important first: if they do not fit, the last ones are left out.

    Args:
        none: what is written if there are none.
        between: what separates them.
    """

    cases: tuple[Case, ...]
    none: str = "none"
    between: str = "\n\n"

    def text(self, count: int | None = None, longest: int | None = None) -> str:
        """Write the first `count` of them, with values of at most `longest` characters."""
        if not self.cases:
            return self.none
        shown = [case.text(longest) for case in self.cases[:count]]
        if more := len(self.cases) - len(shown):
            shown.append(f"({plural(more, 'more case')} left out: there is no room)")
        return self.between.join(shown)


def fit_question(
    question: Mapping[str, Any], fits: Callable[[Mapping[str, Any]], bool]
) -> dict[str, Any]:
    """Write the cases of a question, as many as fit, in full; only then cut values.

    Args:
        question: texts, and `Cases`.
        fits: says whether a question of texts fits into the proposer's context.

    Returns:
        The question with texts only. If even the shortest one does not fit, it is returned: the
        server then says what is wrong.
    """
    written = _write(question)
    if fits(written):
        return written
    most = max((len(value.cases) for value in _cases(question)), default=1)
    count = _largest(lambda number: fits(_write(question, number)), 1, max(1, most))
    if fits(found := _write(question, count)):
        return found
    values = [len(value) for value in question.values() if isinstance(value, str)]
    values += [case.longest for held in _cases(question) for case in held.cases[:count]]
    longest = _largest(
        lambda length: fits(_write(question, count, length)), _SHORTEST, max([*values, _SHORTEST])
    )
    return _write(question, count, longest)


def _cases(question: Mapping[str, Any]) -> Sequence[Cases]:
    return [value for value in question.values() if isinstance(value, Cases)]


def _write(
    question: Mapping[str, Any], count: int | None = None, longest: int | None = None
) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for name, value in question.items():
        if isinstance(value, Cases):
            written[name] = value.text(count, longest)
        else:
            written[name] = _cut(value, longest) if isinstance(value, str) else value
    return written


def _cut(value: str, longest: int | None) -> str:
    """Cut a value in its middle, and say there how much is missing."""
    if longest is None or len(value) <= longest:
        return value
    half = longest // 2
    return f"{value[:half]} …({len(value) - 2 * half:,} characters left out)… {value[-half:]}"


def _largest(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest number for which a condition holds that only small numbers meet."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
