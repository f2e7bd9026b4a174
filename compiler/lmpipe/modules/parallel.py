"""`Parallel`: different programs on different rows, at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from lmpipe.errors import CallError
from lmpipe.foundation.checks import check_fields
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.concurrency import loop
from lmpipe.lm.concurrency.in_order import run_in_order
from lmpipe.lm.scope import current_scope
from lmpipe.modules.batch import Row, in_time, row_inputs
from lmpipe.modules.module import HasAsyncForward, HasForward, Module, check_program
from lmpipe.modules.recorded_apart import Apart, take_over
from lmpipe.modules.row_errors import may_be_kept

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Run programs at once, each on its own row of inputs.

    `Parallel()([(summarize, {"text": "…"}), (route, {"ticket": "…"})])` gives one result for each
    pair, in their order; the place of a run that failed has its error, which does not stop the
    others. While the program around is evaluated or compiled, errors that are not about the row,
    such as an unavailable LM, are raised. To run one program on many rows, use `program.batch`.

    Args:
        concurrency: the maximum number of runs in flight.
        timeout: the maximum time of one run in seconds; None means unlimited. A sync `forward`
            ends at its next LM call.

    Raises:
        ConfigError: if a number is out of range.
    """

    concurrency: int = 64
    timeout: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, "concurrency", minimum=1, integer=True)
        check_fields(self, "timeout", above=0, optional=True)

    @overload
    def __call__(
        self, pairs: Iterable[tuple[HasAsyncForward[..., R], Row]]
    ) -> list[R | Exception]: ...
    @overload
    def __call__(self, pairs: Iterable[tuple[HasForward[..., R], Row]]) -> list[R | Exception]: ...
    def __call__(self, pairs: Iterable[tuple[Any, Row]]) -> list[Any]:
        """Run each program on its row.

        Args:
            pairs: programs with their inputs: a mapping by name, or an `Example`.

        Raises:
            CallError: if a pair is something else.
        """
        return loop.run_sync(self._run(_checked(pairs)))

    @overload
    async def acall(
        self, pairs: Iterable[tuple[HasAsyncForward[..., R], Row]]
    ) -> list[R | Exception]: ...
    @overload
    async def acall(
        self, pairs: Iterable[tuple[HasForward[..., R], Row]]
    ) -> list[R | Exception]: ...
    async def acall(self, pairs: Iterable[tuple[Any, Row]]) -> list[Any]:
        """Run each program on its row, from a coroutine; see `__call__`."""
        return await self._run(_checked(pairs))

    async def _run(self, pairs: list[tuple[Module, Mapping[str, Any]]]) -> list[Any]:
        around = current_scope()
        aparts = [Apart.inside(around) for _ in pairs]

        async def run(number: int) -> Any:
            program, inputs = pairs[number]
            what = f"pair {number + 1}, {type(program).__name__},"
            with aparts[number].scope():
                try:
                    return await in_time(program._acall(**inputs), self.timeout, what)
                except Exception as error:
                    if not may_be_kept(error):
                        raise
                    return error

        try:
            return await run_in_order(range(len(pairs)), self.concurrency, run=run)
        finally:
            take_over(around, aparts)


def _checked(pairs: Iterable[Any]) -> list[tuple[Module, Mapping[str, Any]]]:
    checked: list[tuple[Module, Mapping[str, Any]]] = []
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise CallError(
                f"Parallel: pair {number} is {repr_without_data(pair, 100)}; give pairs of a "
                "program and its inputs: [(program, {…}), …]"
            )
        program, row = pair
        check_program(program)
        checked.append((program, row_inputs(f"Parallel: the row of pair {number}", row)))
    return checked
