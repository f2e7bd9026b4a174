"""Copy a DSPy program for one run: what leads to predictors is copied, all else is shared.

The user's program never changes, and what a run writes into its copy does not reach the next one.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any

import dspy

from lmpipe.integrations.dspy.learned import LearnedPredictor
from lmpipe.integrations.dspy.recorded import RecordedPredict
from lmpipe.integrations.dspy.subclasses import subclass_with
from lmpipe.modules.binding import reached_from

# Which objects may lead to predictors.
_CONTAINERS = (list, tuple, dict)
_HOLDERS = (dspy.Module, dspy.Tool, MethodType, functools.partial, *_CONTAINERS)
# What runs write into modules, each time anew.
_LOGS = ("history", "traces", "train")


class ProgramCopier:
    """Makes copies of a program, in which the predictors have learned states.

    Args:
        program: the user's program.
        learned: what its predictors are, by their `id`; all predictors inside must be there.
    """

    def __init__(self, program: dspy.Module, learned: Mapping[int, LearnedPredictor]) -> None:
        self._program, self._learned = program, learned
        self._copied = _leading_to(program, learned)

    def copy(self, bridge: Callable[[Any], Any]) -> dspy.Module:
        """Make a copy for one run, whose modules ask `bridge(lm)` in place of their LMs."""
        copies: dict[int, Any] = {}

        def copied(value: Any) -> Any:
            if isinstance(value, dspy.BaseLM):
                return bridge(value)
            return self._copy(value, copies, copied)

        made: dspy.Module = copied(self._program)
        return made

    def _copy(self, value: Any, copies: dict[int, Any], copied: Callable[[Any], Any]) -> Any:
        key = id(value)
        if key in copies:
            return copies[key]
        if key in self._learned:
            made = copies[key] = _predictor(value, self._learned[key])
            return made
        if key not in self._copied:
            return value
        return self._holder(value, copies, copied)

    def _holder(self, value: Any, copies: dict[int, Any], copied: Callable[[Any], Any]) -> Any:
        # A copy is registered before its parts are copied, because they may refer to it.
        if isinstance(value, dspy.Module):
            made = copies[id(value)] = object.__new__(type(value))
            attributes = {name: copied(item) for name, item in vars(value).items()}
            vars(made).update(attributes)
            for name in _LOGS:
                if name in attributes:
                    vars(made)[name] = []
            return made
        if isinstance(value, dict):
            named = copies[id(value)] = copy.copy(value)
            named.update({name: copied(item) for name, item in value.items()})
            return named
        if isinstance(value, list):
            listed = copies[id(value)] = copy.copy(value)
            listed[:] = [copied(item) for item in value]
            return listed
        if isinstance(value, tuple):
            make = getattr(type(value), "_make", tuple)  # a named tuple takes its items one by one
            made = make([copied(item) for item in value])
        elif isinstance(value, MethodType):
            made = MethodType(value.__func__, copied(value.__self__))
        elif isinstance(value, functools.partial):
            keywords = {name: copied(item) for name, item in value.keywords.items()}
            made = functools.partial(copied(value.func), *map(copied, value.args), **keywords)
        else:
            made = value.model_copy(update={"func": copied(value.func)})
        return copies.setdefault(id(value), made)


def predictors_inside(program: dspy.Module) -> list[dspy.Predict]:
    """List all predictors of a program, those in compiled parts and behind tools included."""
    found: list[dspy.Predict] = []
    for value, _ in _walk(program):
        if isinstance(value, dspy.Predict):
            found.append(value)
    return found


def modules_inside(program: dspy.Module) -> list[dspy.Module]:
    """List all modules of a program, itself first."""
    return [value for value, _ in _walk(program) if isinstance(value, dspy.Module)]


def _predictor(declared: dspy.Predict, learned: LearnedPredictor) -> dspy.Predict:
    kind: Any = type(declared)
    made: Any = object.__new__(subclass_with(RecordedPredict, kind))
    attributes = vars(made)
    attributes.update(vars(declared))
    for name in _LOGS:
        attributes[name] = []
    attributes["signature"], attributes["config"] = learned.signature, dict(learned.config)
    attributes["demos"], attributes["_lmpipe_learned"] = list(learned.demos), learned
    return made


def _parts(value: Any) -> list[Any]:
    match value:
        case dspy.Module():
            return list(vars(value).values())
        case dict():
            return list(value.values())
        case list() | tuple():
            return list(value)
        case MethodType():
            return [value.__self__]
        case functools.partial():
            return [value.func, *value.args, *value.keywords.values()]
        case dspy.Tool():
            return [value.func]
    return []


def _walk(root: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Yield everything that may lead to predictors, each once, with its parts of that kind."""
    pending, seen = [root], {id(root)}
    while pending:
        value = pending.pop(0)
        parts = [part for part in _parts(value) if isinstance(part, _HOLDERS)]
        yield value, parts
        for part in parts:
            if id(part) not in seen:
                seen.add(id(part))
                pending.append(part)


def _leading_to(root: Any, leaves: Mapping[int, object]) -> set[int]:
    """The `id`s of everything between a program and its predictors."""
    holders: dict[int, list[int]] = {}
    for value, parts in _walk(root):
        if id(value) not in leaves:
            for part in parts:
                holders.setdefault(id(part), []).append(id(value))
    return reached_from(leaves, holders)
