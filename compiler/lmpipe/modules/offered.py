"""What searches may change in a program: not every predictor takes all layouts and constraints."""

from __future__ import annotations

from collections.abc import Mapping

from lmpipe.modules.module import Predictor


def offered_layouts(predictors: Mapping[str, Predictor]) -> frozenset[str] | None:
    """Return the layouts that all predictors of a program can be asked in; None for all."""
    given = [item.layouts for item in predictors.values() if item.layouts is not None]
    return frozenset.intersection(*given) if given else None


def can_constrain(predictors: Mapping[str, Predictor]) -> bool:
    """Whether the replies to all predictors can be constrained to their outputs' types."""
    return all(item.constrainable for item in predictors.values())
