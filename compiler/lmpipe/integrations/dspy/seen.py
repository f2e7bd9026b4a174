"""What a search of a DSPy optimizer has scored so far, for when its budget ends before it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from statistics import fmean
from typing import Any

import dspy

from lmpipe.integrations.dspy.subclasses import subclass_with

_MODULE = "_lmpipe_module"  # in the attributes of a prediction


class NotedModule:
    """What a program does in a search beside running: its predictions know it.

    It is mixed into a subclass of the program's own class, whose copies have it too.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        above: Any = super()
        result = above.__call__(*args, **kwargs)
        if isinstance(result, dspy.Prediction):
            vars(result)[_MODULE] = self
        return result


class SeenScores:
    """The scores of programs on validation examples, as the optimizer's metric gives them.

    Args:
        examples: the validation examples, as the optimizer gets them.
    """

    def __init__(self, examples: Sequence[dspy.Example]) -> None:
        self._places = {id(example): place for place, example in enumerate(examples)}
        self._examples = examples  # so that no other objects get their ids
        self._scores: dict[int, tuple[Any, dict[int, float]]] = {}

    def noting(self, metric: Callable[..., Any]) -> Callable[..., Any]:
        """Return the metric, which notes its scores from now on."""

        @wraps(metric)
        def noted(example: Any, prediction: Any, *others: Any, **named: Any) -> Any:
            result = metric(example, prediction, *others, **named)
            module = getattr(prediction, "__dict__", {}).get(_MODULE)
            if module is not None and id(example) in self._places:
                scores = self._scores.setdefault(id(module), (module, {}))[1]
                scores[self._places[id(example)]] = float(result)
            return result

        return noted

    @property
    def best(self) -> dspy.Module | None:
        """The program with the best mean score, of those that met every example."""
        whole = [one for one in self._scores.values() if len(one[1]) == len(self._places)]
        best = max(whole, key=lambda one: fmean(one[1].values()), default=None)
        return None if best is None else best[0]


def noted_module(module: dspy.Module) -> dspy.Module:
    """Let the predictions of a program, and of copies of it, know it."""
    kind: Any = type(module)
    module.__class__ = subclass_with(NotedModule, kind)
    return module
