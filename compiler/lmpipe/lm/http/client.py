"""Requests to one server over HTTP/1.1 connections that are kept open.

Importing this module does not import aiohttp; the first request does.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from lmpipe.errors import ConfigError
from lmpipe.lm.http.address import Address
from lmpipe.lm.http.proxy import proxy_for
from lmpipe.lm.http.response import Response
from lmpipe.lm.tls import TLS

if TYPE_CHECKING:
    from lmpipe.lm.http.response import StreamedResponse
    from lmpipe.lm.http.session import Session

CONNECT_TIMEOUT = 10.0  # seconds

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_RESERVED = frozenset({"accept-encoding", "connection", "content-length", "transfer-encoding"})


class HttpClient:
    """Sends requests to one server, with headers that are the same for each.

    It follows no redirects, keeps no cookies, limits no concurrency, and never sends a POST twice.
    Responses are limited in size (see `session`). Connections belong to the event loop of the
    first request; on another loop, such as that of a forked child, new ones are opened. The proxy
    settings of the environment apply, except to addresses on this machine.

    Request paths are appended to the `base_url`; a user name and password in it are sent as Basic
    credentials. Raises a UrlError if it is invalid, and a ConfigError if a header, a certificate
    file or a proxy in the environment is unusable.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
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

        Raises an HttpError if it has not arrived within `timeout` seconds.
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
