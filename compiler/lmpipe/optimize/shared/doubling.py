"""When a search on training examples looks at validation before its end."""

from __future__ import annotations


def looks(step: int) -> bool:
    """Whether the best state races on validation after this step: the 1st, 2nd, 4th, 8th, ….

    A search that is cut short then has a result that took at least half of its steps, and all
    looks together cost a few validations.
    """
    return step & (step - 1) == 0


def looks_before(steps: int) -> int:
    """Count the looks before the last one of these many steps."""
    return sum(map(looks, range(1, steps)))
