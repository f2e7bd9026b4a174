"""How many LM calls one run of a DSPy module makes at most, as far as its code tells."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

import dspy

from lmpipe.modules.uses import uses_by_forward

# What to do about a maximum that is not known, or too small.
REMEDY = "give from_dspy(module, max_calls=…)"
REMEDY_OF_METRIC = "give dspy_metric(metric, max_calls=…)"
# How often an agent of DSPy asks again after it has shortened a prompt that was too long.
_SHORTENED = 2


def count_calls_of(module: dspy.Module, calls: Mapping[int, int]) -> int | None:
    """Count the calls of a run at most; None if they depend on the data.

    Args:
        module: the module.
        calls: the calls of one use of each predictor inside, by its `id`.
    """
    counted = _count(module, calls, ())
    return int(counted) if isfinite(counted) else None


def _count(value: Any, calls: Mapping[int, int], inside: tuple[int, ...]) -> float:
    if id(value) in inside:  # a module that refers to itself
        return inf
    inside = (*inside, id(value))
    if isinstance(value, dspy.Predict):
        return calls.get(id(value), inf)
    if isinstance(value, list | tuple):
        return sum(_count(item, calls, inside) for item in value)
    if isinstance(value, dict):
        return sum(_count(item, calls, inside) for item in value.values())
    if not isinstance(value, dspy.Module):
        return 0
    if isinstance(value, dspy.ReAct):
        steps = _count(value.react, calls, inside) * float(value.max_iters + _SHORTENED)
        return steps + _count(value.extract, calls, inside) * (1 + _SHORTENED)
    if isinstance(value, dspy.BestOfN):
        return float(value.N) * _count(value.module, calls, inside)
    if isinstance(value, dspy.Refine):
        advice = 2  # calls, with the one for JSON
        return float(value.N) * (_count(value.module, calls, inside) + advice)
    return _by_code(value, calls, inside)


def _by_code(module: dspy.Module, calls: Mapping[int, int], inside: tuple[int, ...]) -> float:
    method = "forward" if getattr(type(module), "forward", None) is not None else "aforward"
    uses = uses_by_forward(module, method)
    total = 0.0
    for name, part in vars(module).items():
        times = max(1, uses.get(name, 1))
        if (each := _count(part, calls, inside)) > 0:
            total += times * each
    return total
