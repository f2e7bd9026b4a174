"""`PieceStream`: a run on the library's loop whose pieces reach a caller while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, Self, TypeVar

from lmpipe.lm.concurrency import loop

P = TypeVar("P")
R_co = TypeVar("R_co", covariant=True)

_END = object()


class PieceStream(Generic[P, R_co]):
    """A run that gives pieces while it goes on, and a result at its end.

    The run starts when the stream is made. Iterate over it with `for` or `async for`, then read
    `result`. `close()` cancels the run, and so does leaving a `with` block.
    """

    def __init__(self, run: Callable[[Callable[[P], None]], Coroutine[Any, Any, R_co]]) -> None:
        """Start a run, which gets the function that takes its pieces, from any thread."""
        self._pieces: SimpleQueue[Any] = SimpleQueue()
        self._wake: Callable[[], object] | None = None
        self._future = loop.submit(run(self._put))
        self._future.add_done_callback(lambda _: self._put(_END))

    @property
    def result(self) -> R_co:
        """The result; waits for the end of the run.

        Raises:
            Exception: the run's own error.
        """
        if not self._future.done():
            loop.check_not_on_loop()
        return self._future.result()

    async def aresult(self) -> R_co:
        """`result` from a coroutine."""
        return await asyncio.wrap_future(self._future)

    def close(self) -> None:
        """Cancel the run if it has not ended."""
        self._future.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> P:
        return self._next()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> P:
        return await self._anext()

    def _next(self) -> P:
        loop.check_not_on_loop()
        return self._piece(self._pieces.get(), StopIteration)

    async def _anext(self) -> P:
        while True:
            with suppress(Empty):
                return self._piece(self._pieces.get_nowait(), StopAsyncIteration)
            await self._more()

    async def _more(self) -> None:
        running = asyncio.get_running_loop()
        arrived = asyncio.Event()
        self._wake = lambda: running.call_soon_threadsafe(arrived.set)
        if self._pieces.empty():  # otherwise a piece came before the wake-up call was set
            await arrived.wait()

    def _put(self, piece: Any) -> None:
        self._pieces.put(piece)
        wake, self._wake = self._wake, None
        if wake is not None:
            with suppress(RuntimeError):  # the caller's loop is closed, so nobody waits
                wake()

    def _piece(self, piece: Any, end: type[Exception]) -> P:
        if piece is not _END:
            given: P = piece
            return given
        self._pieces.put(_END)  # so that further iteration ends too
        if not self._future.cancelled() and (error := self._future.exception()):
            raise error
        raise end
