"""`Runnable`: the ways to run a program: a call, `acall`, `stream` and `batch`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, Protocol, TypeVar, overload

from lmpipe.errors import ConfigError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.metering import current_meter, metering, reset_meter, set_meter
from lmpipe.lm.observing import listening
from lmpipe.modules.batch import OnError, Row, run_batch
from lmpipe.modules.binding import Node
from lmpipe.modules.checks import CheckedRun
from lmpipe.modules.observed import observed_program, predictor_paths
from lmpipe.modules.result_usage import with_charges

if TYPE_CHECKING:
    from lmpipe.lm.spend import Charge
    from lmpipe.modules.stream import Stream

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class HasForward(Protocol[P, R_co]):
    """A module with a plain `forward`."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class HasAsyncForward(Protocol[P, R_co]):
    """A module with an async `forward`."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


class Runnable(Node):
    """The base class of `Module`: what has a `forward`, sync or async, and how it is run."""

    # Whether a run counts its LM calls for its result; a predictor knows them anyway, and its
    # `forward` is a plain one.
    _metered: ClassVar[bool] = True

    # How many kinds of checks its code has; None until the first run.
    _kinds_of_checks: ClassVar[int | None] = None

    @overload
    def __call__(self: HasAsyncForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(self: HasForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the program and return what `forward` returns."""
        if not self._metered:
            return self.forward(*args, **kwargs)
        if _is_async(self):
            return loop.run_sync(self._acall(*args, **kwargs))
        charges: list[Charge] = []
        token = set_meter((charges.append, current_meter()))
        try:
            if listening:
                with observed_program(self, args, kwargs) as call:
                    result = self._run_here(args, kwargs)
                    call.ends(result=result)
            elif self._kinds_of_checks == 0:
                result = self.forward(*args, **kwargs)
            else:
                result = self._run_here(args, kwargs)
        finally:
            reset_meter(token)
        return with_charges(result, charges)

    @overload
    async def acall(self: HasAsyncForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def acall(self: HasForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the program from a coroutine; a sync `forward` runs in a thread."""
        return await self._acall(*args, **kwargs)

    @overload
    def stream(self: HasAsyncForward[P, R], *args: P.args, **kwargs: P.kwargs) -> Stream[R]: ...
    @overload
    def stream(self: HasForward[P, R], *args: P.args, **kwargs: P.kwargs) -> Stream[R]: ...
    def stream(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Start the program and stream its outputs while the LM writes them.

        Returns:
            A `Stream`: iterate over it with `for` or `async for`, then read its `result`.
        """
        from lmpipe.modules.stream import Stream

        return Stream(lambda: self._acall(*args, **kwargs), predictor_paths(self))

    @overload
    def batch(
        self: HasAsyncForward[..., R],
        rows: Iterable[Row],
        *,
        concurrency: int = 64,
        timeout: float | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> list[R]: ...
    @overload
    def batch(
        self: HasForward[..., R],
        rows: Iterable[Row],
        *,
        concurrency: int = 64,
        timeout: float | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> list[R]: ...
    @overload
    def batch(
        self: HasAsyncForward[..., R],
        rows: Iterable[Row],
        *,
        concurrency: int = 64,
        timeout: float | None = None,
        on_error: Literal["keep"],
    ) -> list[R | Exception]: ...
    @overload
    def batch(
        self: HasForward[..., R],
        rows: Iterable[Row],
        *,
        concurrency: int = 64,
        timeout: float | None = None,
        on_error: Literal["keep"],
    ) -> list[R | Exception]: ...
    def batch(
        self: Any,
        rows: Iterable[Row],
        *,
        concurrency: int = 64,
        timeout: float | None = None,
        on_error: OnError = "raise",
    ) -> list[Any]:
        """Run the program on many rows of inputs at once; results have the rows' order.

        Args:
            rows: inputs by name, one mapping per run; of an `Example`, its inputs.
            concurrency: the maximum number of runs in flight.
            timeout: the maximum time of one run in seconds; None means unlimited. A sync `forward`
                ends at its next LM call.
            on_error: `raise` raises the first error and cancels the other rows; `keep` puts each
                error in the place of its row's result, and runs the others. While a program
                around is evaluated or compiled, an error that is not about the row, such as an
                unavailable LM, is raised in any case.

        Raises:
            CallError: if a row is neither a mapping nor an `Example`.
            ConfigError: if an option is wrong.
            RunTimeoutError: if a row takes longer than the timeout.
            Exception: the first error that a row raised; the other rows are cancelled.
        """
        kind = type(self)
        as_declared = kind._acall is Runnable._acall and kind._run_forward is Runnable._run_forward
        blocks = as_declared and not _is_async(self)
        return run_batch(
            rows,
            concurrency,
            run=self._acall,
            blocking=self if blocks else None,
            timeout=timeout,
            on_error=on_error,
        )

    async def _acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        with metering() as charges:
            if listening:
                with observed_program(self, args, kwargs) as call:
                    result = await self._run_forward(*args, **kwargs)
                    call.ends(result=result)
            else:
                result = await self._run_forward(*args, **kwargs)
        return with_charges(result, charges)

    def _run_here(self, args: Any, kwargs: Any) -> Any:
        """Run a sync `forward` in this thread."""
        forward: Callable[..., Any] = self.forward  # type: ignore[attr-defined]
        if self._may_go_back:
            return self._checked_run().run(forward, args, kwargs)
        return forward(*args, **kwargs)

    async def _run_forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, or what takes its place in a coroutine."""
        if not _is_async(self):
            return await loop.in_thread(self._run_here, args, kwargs)
        forward: Callable[..., Any] = self.forward  # type: ignore[attr-defined]
        if self._may_go_back:
            return await self._checked_run().arun(forward, args, kwargs)
        return await forward(*args, **kwargs)

    @property
    def _may_go_back(self) -> int:
        """How many kinds of checks its code has, each of which may go back."""
        raise NotImplementedError

    def _checked_run(self) -> CheckedRun:
        """Make what runs `forward` until its checks are met."""
        raise NotImplementedError


def _is_async(module: Any) -> bool:
    try:
        forward = type(module).forward
    except AttributeError:
        raise ConfigError(
            f"{type(module).__name__} has no forward method: define `def forward(self, …)`"
        ) from None
    return _is_coroutine_function(forward)


# Every call of a program asks, and the answer takes longer than a look-up.
_is_coroutine_function = lru_cache(maxsize=1024)(inspect.iscoroutinefunction)
