"""Requests to one server over HTTP/1.1 connections that are kept open."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from lmpipe.errors import ConfigError
from lmpipe.lm.http.address import Address
from lmpipe.lm.http.connection import Connection
from lmpipe.lm.http.errors import BrokenError
from lmpipe.lm.http.parser import Headers, ResponseParser
from lmpipe.lm.http.pool import Pool
from lmpipe.lm.http.proxy import proxy_for

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OWN = frozenset({"accept-encoding", "connection", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response.

    Args:
        status: the status code.
        headers: the headers.
        body: the body, unpacked.
    """

    status: int
    headers: Headers
    body: bytes


class StreamedResponse:
    """A response whose body is still to come."""

    def __init__(self, connection: Connection, parser: ResponseParser) -> None:
        self._connection = connection
        self._parser = parser
        self.status = parser.status
        self.headers = parser.headers

    async def read(self) -> bytes:
        """The rest of the body.

        Raises:
            HttpError: if it does not come.
        """
        while not self._parser.done:
            await self._connection.more()
        return self._parser.take()

    async def lines(self) -> AsyncIterator[bytes]:
        """The body's lines as they come, with their ends.

        Raises:
            HttpError: if the body ends before it should.
        """
        rest = b""
        while True:
            done = self._parser.done
            *lines, rest = (rest + self._parser.take()).split(b"\n")
            for line in lines:
                yield line + b"\n"
            if done:
                break
            await self._connection.more()
        if rest:
            yield rest


class HttpClient:
    """Asks one server; follows no redirects, keeps no cookies and bounds no concurrency.

    Connections belong to the loop that first uses them; another loop, such as that of a forked
    child, gets its own. The environment's proxy is used, except to this machine itself.

    Args:
        base_url: the server's address; the paths of requests follow it. A user and a password in
            it are sent as Basic credentials.
        headers: sent with each request.
        connect_timeout: the longest wait for a connection, in seconds.

    Raises:
        UrlError: if the address is none.
        ConfigError: if a header cannot be sent.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 10.0,
    ) -> None:
        self._address = Address.parse(base_url)
        self._proxy = proxy_for(self._address)
        self._connect_timeout = connect_timeout
        self._fields = _fields(self._address, self._proxy, headers or {})
        self._heads: dict[tuple[str, str], bytes] = {}
        self._pool: Pool | None = None

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout: float,  # noqa: ASYNC109 - one timer serves many requests
    ) -> Response:
        """Ask, and wait for the whole response, whatever its status.

        Args:
            method: `GET`, `POST`, ….
            path: what follows the base address.
            body: what is sent.
            timeout: the longest wait for the whole response, in seconds.

        Raises:
            HttpError: if no whole response comes.
        """
        pool = self._here()
        connection, parser = await self._ask(pool, method, path, body, timeout)
        pool.give(connection, parser)
        return Response(parser.status, parser.headers, parser.take())

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[StreamedResponse]:
        """Ask, and wait for the response's head alone; otherwise like `request`."""
        pool = self._here()
        connection, parser = await self._ask(pool, method, path, body, timeout, streaming=True)
        try:
            yield StreamedResponse(connection, parser)
        finally:
            pool.give(connection, parser)  # which closes it if the response is not over

    async def aclose(self) -> None:
        """Close the connections; the client can be used again."""
        pool, self._pool = self._pool, None
        if pool is not None and pool.loop is asyncio.get_running_loop():
            await pool.aclose()

    async def _ask(
        self,
        pool: Pool,
        method: str,
        path: str,
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109
        *,
        streaming: bool = False,
    ) -> tuple[Connection, ResponseParser]:
        data = self._message(method, path, body)
        now = pool.loop.time()
        deadline = now + timeout
        reused = connection = pool.take(now)
        while True:
            if connection is None:
                connection = await pool.connect(deadline)
            parser = ResponseParser(bodiless=method == "HEAD")
            try:
                await connection.send(data, parser, deadline, streaming=streaming)
            except BrokenError as error:
                # An idle connection may have been closed just when it was taken: ask once more.
                if connection is not reused or not error.unanswered:
                    raise
                connection = None
            except BaseException:
                connection.abort()
                raise
            else:
                return connection, parser

    def _message(self, method: str, path: str, body: bytes | None) -> bytes:
        head = self._heads.get((method, path))
        if head is None:
            head = self._heads[method, path] = self._head(method, path)
        if body is None:
            return head + b"\r\n"
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)

    def _head(self, method: str, path: str) -> bytes:
        address = self._address
        target = f"{address.path}{path}{address.query}"
        if self._proxy is not None and address.scheme == "http":
            target = f"http://{address.host_field}{target}"
        lines = [f"{name}: {value}\r\n" for name, value in self._fields.items()]
        return f"{method} {target} HTTP/1.1\r\n{''.join(lines)}".encode("ascii")

    def _here(self) -> Pool:
        loop = asyncio.get_running_loop()
        pool = self._pool
        if pool is None or pool.loop is not loop:
            pool = Pool(loop, self._address, self._proxy, self._connect_timeout)
            self._pool = pool
        return pool


def _fields(address: Address, proxy: Address | None, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of each request; of two names that differ in case alone, the last one holds."""
    named = {
        "host": ("Host", address.host_field),
        "accept-encoding": ("Accept-Encoding", "identity"),
    }
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None or name.lower() in _OWN:
            raise ConfigError(f"the header {name!r} cannot be sent: choose another name")
        if _VALUE.fullmatch(value) is None:  # it may be a secret, and is not shown
            raise ConfigError(
                f"the header {name!r} cannot be sent: its value must be one line of printable "
                "ASCII characters"
            )
        named[name.lower()] = (name, value.strip(" \t"))
    if address.credentials:
        if "authorization" in named:
            raise ConfigError(
                "there are a user and a password in the address, and a key or an Authorization "
                "header besides: give only one of them"
            )
        named["authorization"] = ("Authorization", address.credentials)
    if proxy is not None and proxy.credentials and address.scheme == "http":
        named["proxy-authorization"] = ("Proxy-Authorization", proxy.credentials)
    return dict(named.values())
