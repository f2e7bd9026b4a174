"""One connection, with one request at a time on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lmpipe.lm.http.errors import BrokenError, HttpError, ResponseTimeoutError
from lmpipe.lm.http.parser import ResponseParser

_CLOCK = 0.001  # seconds by which a timer may come too early


class Connection(asyncio.Protocol):
    """Sends requests and feeds what comes to their parsers.

    Args:
        loop: the loop that it lives on.
        on_lost: told when it has ended, whoever ended it.
    """

    __slots__ = (
        "_deadline",
        "_error",
        "_loop",
        "_on_lost",
        "_parser",
        "_streaming",
        "_timer",
        "_waiter",
        "idle_since",
        "lost",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._parser: ResponseParser | None = None  # of the response that is to come
        self._waiter: asyncio.Future[None] | None = None
        self._error: HttpError | None = None
        self._streaming = False
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.idle_since = 0.0
        self.lost = False

    def send(
        self, data: bytes, parser: ResponseParser, deadline: float, *, streaming: bool = False
    ) -> asyncio.Future[None]:
        """Send a request; whoever stops waiting must `abort`.

        Args:
            data: the whole request.
            parser: reads the response.
            deadline: when the response must be whole, by the loop's clock.
            streaming: whether to wait for the response's head alone.

        Returns:
            Done when the response, or its head, has come; it fails by an `HttpError`.
        """
        if self.lost:  # by the time that whoever opened it had it: nothing tells of that again
            gone: asyncio.Future[None] = self._loop.create_future()
            gone.set_exception(BrokenError("it was closed at once", unanswered=True))
            return gone
        self._parser = parser
        self._streaming = streaming
        self._deadline = deadline
        # One timer serves many requests: it looks again if it finds a later deadline.
        timer = self._timer
        if timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline, self._look_at_the_clock)
        self._waiter = waiter = self._loop.create_future()
        self.transport.write(data)
        return waiter

    def more(self) -> asyncio.Future[None]:
        """Wait for more of a response that is streamed, or for its end."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._error is not None:
            waiter.set_exception(self._error)
        elif self._parser is None:
            waiter.set_result(None)
        else:
            self._waiter = waiter
        return waiter

    def abort(self) -> None:
        """End it at once, whatever is under way."""
        if self._parser is not None:
            self._fail(BrokenError("it was closed here"))
        self._stop_timer()
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:  # nobody asked
            self.transport.abort()
            return
        try:
            parser.feed(data)
        except HttpError as error:
            self._fail(error)
            return
        if parser.done:
            self._parser = None
            self._wake()
        elif self._streaming and parser.headed:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._stop_timer()
        self._on_lost(self)
        parser = self._parser
        if parser is None:
            return
        try:
            if exc is not None:
                raise BrokenError(str(exc) or type(exc).__name__, unanswered=not parser.started)
            parser.end()
        except HttpError as error:
            self._fail(error)
        else:
            self._parser = None
            self._wake()

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._parser is None:
            return
        if self._deadline - self._loop.time() > _CLOCK:
            self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)
        else:
            self._fail(ResponseTimeoutError("no whole response came in time"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: HttpError) -> None:
        self._parser = None
        self._error = error
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.transport.abort()
