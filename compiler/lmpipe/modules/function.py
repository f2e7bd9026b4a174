"""`predict`: turn a typed function into a program whose calls an LM answers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from lmpipe.errors import CallError
from lmpipe.modules.module import Module
from lmpipe.modules.predict import Predict
from lmpipe.signatures.from_function import signature_from_function
from lmpipe.signatures.made_classes import find_by_name, not_importable
from lmpipe.signatures.signature import Prediction

P = ParamSpec("P")
R = TypeVar("R")


class PredictFunction(Module, Generic[P, R]):
    """A function whose calls an LM answers; the decorator `predict` makes it."""

    def __init__(self, function: Callable[P, R], **options: Any) -> None:
        self.predict: Predict[..., Prediction] = Predict(
            signature_from_function(function), **options
        )
        self.__module__ = function.__module__
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self._parameters = inspect.signature(function)

    def __repr__(self) -> str:
        return f"<{self.predict.spec}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        result = memo[id(self)] = copy.copy(self)
        vars(result).update(copy.deepcopy(vars(self), memo))
        return result

    def __reduce__(self) -> str | tuple[Any, ...]:
        # Like a function, it is pickled by its name; a bound copy, by that and what was bound.
        declared = find_by_name(self.__module__, self.__qualname__)
        if not isinstance(declared, PredictFunction):
            raise not_importable(self.__module__, self.__qualname__)
        if declared is self:
            return self.__qualname__
        return _with_predictor, (declared, self.predict)

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Ask the LM for the return value.

        Raises:
            CallError: if an argument is missing, unknown or has the wrong type.
        """
        result: R = self.predict.forward(**self._bind(args, kwargs)).result
        return result

    async def _run_forward(self, *args: Any, **kwargs: Any) -> Any:
        return (await self.predict._acall(**self._bind(args, kwargs))).result

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._parameters.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise CallError(
                f"{self.__name__}: {error}\n  signature: {self.predict.spec}"
            ) from error


def _with_predictor(declared: PredictFunction[P, R], predictor: Any) -> PredictFunction[P, R]:
    result = copy.copy(declared)
    result.predict = predictor
    return result


@overload
def predict(function: Callable[P, R], /) -> PredictFunction[P, R]: ...
@overload
def predict(
    *,
    layout: str = "chat",
    constrained: bool = False,
    **options: Any,
) -> Callable[[Callable[P, R]], PredictFunction[P, R]]: ...
def predict(function: Any = None, /, **options: Any) -> Any:
    """Let an LM answer the calls of a typed function.

    The parameters are the inputs, the return value is the output, and the docstring is the
    instruction. Use it bare (`@predict`) or with options of `Predict` (`@predict(layout="plain")`).
    The body never runs; type checkers accept `raise NotImplementedError` as one, but not `...`.

    Args:
        function: the function.
        options: those of `Predict`.

    Raises:
        SignatureError: if a parameter or the return value has no annotation.
    """
    if function is not None:
        return PredictFunction(function, **options)
    return lambda decorated: PredictFunction(decorated, **options)
