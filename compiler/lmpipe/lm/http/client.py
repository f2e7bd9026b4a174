"""Requests to one server over HTTP/1.1 connections that are kept open."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lmpipe.errors import ConfigError
from lmpipe.lm.http.address import Address
from lmpipe.lm.http.proxy import proxy_for
from lmpipe.lm.tls import TLS

if TYPE_CHECKING:
    from lmpipe.lm.http.session import Session

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_RESERVED = frozenset({"accept-encoding", "connection", "content-length", "transfer-encoding"})


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response.

    Args:
        status: The status code.
        headers: The headers; names are case-insensitive.
        body: The body, decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class StreamedResponse(Protocol):
    """A response whose head has arrived and whose body has not."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are case-insensitive."""
        ...

    @property
    def media_type(self) -> str:
        """The content type without its parameters, such as `application/json`."""
        ...

    async def read(self) -> bytes:
        """Read the whole body.

        Raises:
            HttpError: If it does not arrive, or is too large.
        """
        ...

    def lines(self) -> AsyncIterator[bytes]:
        """Yield the body's lines as they arrive, with their line ends.

        Raises:
            HttpError: If the body ends early, or it or a line of it is too large.
        """
        ...


class HttpClient:
    """Sends requests to one server.

    It follows no redirects, keeps no cookies, limits no concurrency, and never sends a POST twice.
    Responses are limited in size (see `session`). Connections belong to the event loop of the
    first request; on another loop, such as that of a forked child, new ones are opened. The proxy
    settings of the environment apply, except to addresses on this machine.

    Args:
        base_url: The server's address; request paths are appended to it. A user name and password
            in it are sent as Basic credentials.
        headers: Headers to send with each request.
        connect_timeout: The maximum time for opening a connection, in seconds.
        tls: Certificate files for `https` addresses; the system's authorities by default.

    Raises:
        UrlError: If the address is invalid.
        ConfigError: If a header cannot be sent, a certificate file cannot be read, or the
            environment names an unusable proxy.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 10.0,
        tls: TLS | None = None,
    ) -> None:
        self._address = Address.parse(base_url)
        self._proxy = proxy_for(self._address)
        self._headers = _checked_headers(self._address, headers or {})
        self._connect_timeout = connect_timeout
        self._ssl: ssl.SSLContext | None = None
        if self._address.scheme == "https":
            self._ssl = (tls or TLS()).context()
        elif tls is not None:
            raise ConfigError("tls= needs an address that begins with https://")
        self._session: Session | None = None

    def request(
        self, method: str, path: str, body: bytes | None = None, *, timeout: float
    ) -> Coroutine[Any, Any, Response]:
        """Send a request and wait for the whole response, whatever its status.

        Args:
            method: `GET`, `POST`, ….
            path: The path after the base address.
            body: The request body.
            timeout: The maximum time until the whole response has arrived, in seconds.

        Raises:
            HttpError: If no whole response arrives.
        """
        return self._open().request(method, path, body, timeout)

    def stream(
        self, method: str, path: str, body: bytes | None = None, *, timeout: float
    ) -> AbstractAsyncContextManager[StreamedResponse]:
        """Send a request and wait only for the head of the response; otherwise like `request`."""
        return self._open().stream(method, path, body, timeout)

    async def aclose(self) -> None:
        """Close all connections. The client can be used again."""
        session, self._session = self._session, None
        if session is not None and session.loop is asyncio.get_running_loop():
            await session.aclose()

    def _open(self) -> Session:
        session = self._session
        if session is None or session.loop is not asyncio.get_running_loop():
            from lmpipe.lm.http.session import Session

            session = self._session = Session(
                self._address, self._proxy, self._headers, self._connect_timeout, self._ssl
            )
        return session


def _checked_headers(address: Address, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of each request. Names are case-insensitive: of two alike, the last one wins."""
    named = {
        "accept": ("Accept", "*/*"),
        "accept-encoding": ("Accept-Encoding", "identity"),
        "user-agent": ("User-Agent", "lmpipe"),
    }
    for name, value in headers.items():
        if _NAME.fullmatch(name) is None or name.lower() in _RESERVED:
            raise ConfigError(f"the header {name!r} cannot be sent: choose another name")
        if _VALUE.fullmatch(value) is None:  # do not show it: it may be a secret
            raise ConfigError(
                f"the header {name!r} cannot be sent: its value must be one line of printable "
                "ASCII characters"
            )
        named[name.lower()] = (name, value.strip(" \t"))
    if address.credentials:
        if "authorization" in named:
            raise ConfigError(
                "the address contains a user name and password, and there is an API key or an "
                "Authorization header too: give only one of them"
            )
        named["authorization"] = ("Authorization", address.credentials)
    return dict(named.values())
