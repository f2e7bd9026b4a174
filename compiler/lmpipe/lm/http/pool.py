"""The open connections to one server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

from lmpipe.lm.http.address import Address
from lmpipe.lm.http.connection import Connection
from lmpipe.lm.http.errors import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    ResponseTimeoutError,
)
from lmpipe.lm.http.parser import ResponseParser

KEEP_IDLE = 15.0  # seconds; servers close what is idle for longer, just when it is needed again
_NEXT_ADDRESS = 0.25  # seconds until the next of a name's addresses is tried too
_STEPS_TO_END = 4  # of the loop, in which a connection that was aborted ends; TLS takes the most


class Pool:
    """Opens connections on one loop and keeps the idle ones, the last used on top.

    Args:
        loop: the loop.
        address: the server's.
        proxy: the proxy's, if there is one on the way.
        connect_timeout: the longest wait for a connection, in seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        proxy: Address | None,
        connect_timeout: float,
    ) -> None:
        self.loop = loop
        self._address = address
        self._proxy = proxy
        self._connect_timeout = connect_timeout
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._ssl: ssl.SSLContext | None = None

    def take(self, now: float) -> Connection | None:
        """An idle connection, if there is one.

        Args:
            now: the time by the loop's clock.
        """
        idle = self._idle
        while idle and now - idle[0].idle_since > KEEP_IDLE:
            idle.pop(0).abort()
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    def give(self, connection: Connection, parser: ResponseParser) -> None:
        """Give a connection back whose response has come to its end, or not."""
        if parser.reusable and not connection.transport.is_closing():
            connection.idle_since = self.loop.time()
            self._idle.append(connection)
        else:
            connection.abort()

    async def connect(self, deadline: float) -> Connection:
        """Open a connection.

        Args:
            deadline: when the response must have come, by the loop's clock.

        Raises:
            ConnectError: if there is none to be had.
            ResponseTimeoutError: if the deadline passes.
        """
        limit = self.loop.time() + self._connect_timeout
        try:
            async with asyncio.timeout_at(min(limit, deadline)):
                connection = await self._connect(deadline)
        except TimeoutError as error:
            if deadline < limit:
                raise ResponseTimeoutError("no connection came in time") from error
            raise ConnectTimeoutError("no connection came in time") from error
        if not connection.lost:
            self._open.add(connection)
        return connection

    async def aclose(self) -> None:
        """Close all connections; requests under way fail."""
        for connection in list(self._open):
            connection.abort()
        for _ in range(_STEPS_TO_END):
            if not self._open:
                break
            await asyncio.sleep(0)

    async def _connect(self, deadline: float) -> Connection:
        secure = self._secure() if self._address.scheme == "https" else None
        with _as_connect_errors():
            if self._proxy is None:
                return await self._dial(self._address, secure)
            connection = await self._dial(self._proxy, None)
            if secure is not None:
                try:
                    await self._tunnel(connection, secure, deadline)
                except BaseException:
                    connection.abort()
                    raise
            return connection

    async def _dial(self, address: Address, secure: ssl.SSLContext | None) -> Connection:
        _, connection = await self.loop.create_connection(
            lambda: Connection(self.loop, self._lost),
            address.host,
            address.port,
            ssl=secure,
            server_hostname=address.host if secure else None,
            happy_eyeballs_delay=None if address.is_literal else _NEXT_ADDRESS,
        )
        return connection

    async def _tunnel(
        self, connection: Connection, secure: ssl.SSLContext, deadline: float
    ) -> None:
        """Have the proxy connect to the server, and speak TLS from there on."""
        assert self._proxy is not None
        target = self._address.authority
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if self._proxy.credentials:
            head += f"Proxy-Authorization: {self._proxy.credentials}\r\n"
        parser = ResponseParser(bodiless=True)
        await connection.send(f"{head}\r\n".encode(), parser, deadline)
        if not 200 <= parser.status < 300:
            raise ConnectError(f"the proxy {self._proxy.authority} answered {parser.status}")
        transport = await self.loop.start_tls(
            connection.transport, connection, secure, server_hostname=self._address.host
        )
        assert transport is not None
        connection.transport = transport

    def _secure(self) -> ssl.SSLContext:
        if self._ssl is None:
            self._ssl = ssl.create_default_context()
            self._ssl.set_alpn_protocols(["http/1.1"])
        return self._ssl

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)


@contextlib.contextmanager
def _as_connect_errors() -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(error.verify_message or str(error)) from error
    except OSError as error:
        raise ConnectError(error.strerror or str(error) or type(error).__name__) from error
