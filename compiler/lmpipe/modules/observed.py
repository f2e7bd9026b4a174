"""Tell listeners the calls of programs and predictors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmpipe.lm.events import (
    CheckFailed,
    LayoutEnded,
    LayoutStarted,
    PredictorEnded,
    PredictorStarted,
    ProgramEnded,
    ProgramStarted,
)
from lmpipe.lm.observing import AnyObserved, observed, path_here, predictor_here, tell_here

if TYPE_CHECKING:
    from lmpipe.layouts.layout import Layout
    from lmpipe.modules.module import Module
    from lmpipe.state.trace import FailedCheck


def observed_program(program: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AnyObserved:
    """Tell a call of a program, and find the paths of its predictors if it is the outermost."""
    return observed(
        ProgramStarted,
        ProgramEnded,
        paths=lambda: predictor_paths(program),
        program=name_of(program),
        inputs=_by_name(program, args, kwargs),
    )


def observed_use(predictor: object, inputs: Mapping[str, Any], sample: int) -> AnyObserved:
    """Tell a call of a predictor with checked inputs."""
    path = path_here(predictor, getattr(predictor, "path", type(predictor).__name__))
    return observed(
        PredictorStarted, PredictorEnded, predictor=path, inputs=dict(inputs), sample=sample
    )


def observed_layout(layout: Layout, action: str, path: str) -> AnyObserved:
    """Tell that a layout writes a prompt or reads a reply of the predictor at a path."""
    return observed(
        LayoutStarted,
        LayoutEnded,
        predictor=predictor_here() or path,
        layout=type(layout).__name__,
        action=action,
    )


def tell_failed_check(check: FailedCheck, path: str) -> None:
    """Tell that an answer of the predictor at a path failed a check, in the call around."""
    tell_here(CheckFailed, predictor=path, check=check)


def predictor_paths(program: Module) -> dict[int, str]:
    """Return the paths of a program's predictors by their `id`; alone, a predictor has none.

    Of a predictor with several paths, as in an ensemble of equal members, it is the first one.
    """
    found = reversed(program.predictors().items())
    return {id(item): path for path, item in found if item is not program}


def name_of(program: Module) -> str:
    """Return the name of a program's class, or that of the function it was made of."""
    return getattr(program, "__name__", type(program).__name__)


def _by_name(program: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Name the arguments of a call."""
    if not args:
        return dict(kwargs)
    try:
        return dict(inspect.signature(program.forward).bind(*args, **kwargs).arguments)
    except TypeError:  # the call itself tells what is wrong with them
        return {**{str(place): value for place, value in enumerate(args)}, **kwargs}
