"""A connection's clock, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from helpers.virtual_time import in_virtual_time, now

from lmpipe.lm.http.connection import Connection
from lmpipe.lm.http.errors import BrokenError, ResponseTimeoutError
from lmpipe.lm.http.parser import ResponseParser

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """Takes what is sent; nothing comes back by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


def scenario(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run() -> None:
        in_virtual_time(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def connected() -> tuple[Connection, Wire]:
    connection, wire = Connection(asyncio.get_running_loop(), lambda connection: None), Wire()
    connection.connection_made(wire)
    return connection, wire


async def ask(connection: Connection, *, answered_after: float, within: float) -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(answered_after, connection.data_received, OK)
    await connection.send(b"", ResponseParser(), loop.time() + within)


@scenario
async def test_a_deadline_holds_to_the_moment() -> None:
    connection, wire = connected()
    with pytest.raises(ResponseTimeoutError):
        await ask(connection, answered_after=99, within=10)
    assert (now(), wire.aborted) == (pytest.approx(10, abs=0.01), True)


@scenario
async def test_a_later_deadline_holds_after_an_earlier_one() -> None:
    connection, wire = connected()
    await ask(connection, answered_after=1, within=10)
    await ask(connection, answered_after=50, within=60)
    assert (now(), wire.aborted) == (pytest.approx(51, abs=0.01), False)


@scenario
async def test_an_earlier_deadline_holds_after_a_later_one() -> None:
    connection, _ = connected()
    await ask(connection, answered_after=1, within=600)
    with pytest.raises(ResponseTimeoutError):
        await ask(connection, answered_after=99, within=10)
    assert now() == pytest.approx(11, abs=0.01)


@scenario
async def test_no_deadline_ends_an_idle_connection() -> None:
    connection, wire = connected()
    await ask(connection, answered_after=1, within=10)
    await asyncio.sleep(100)
    assert not wire.aborted


@scenario
async def test_what_nobody_asked_for_ends_the_connection() -> None:
    connection, wire = connected()
    connection.data_received(OK)
    assert wire.aborted


@scenario
async def test_one_that_was_lost_before_it_was_used_fails_at_once() -> None:
    connection, _ = connected()
    connection.connection_lost(None)
    with pytest.raises(BrokenError) as caught:
        await ask(connection, answered_after=99, within=100)
    assert (now(), caught.value.unanswered) == (pytest.approx(0, abs=0.01), True)
