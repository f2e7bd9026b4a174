"""An aiohttp session: the connections to one server on one event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from multidict import CIMultiDict
from yarl import URL

from lmpipe.foundation.printable import printable
from lmpipe.lm.http.address import Address
from lmpipe.lm.http.errors import (
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    DisconnectedError,
    HttpError,
    ProtocolError,
    ResponseTimeoutError,
)
from lmpipe.lm.http.response import Response, StreamedResponse
from lmpipe.lm.http.timeouts import Timeouts

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

MAX_HEADER = 2**16  # bytes of the status line or of one header; there may be 128 headers

# Seconds for which an idle connection is kept: less than servers keep theirs (uvicorn and vLLM:
# 5), so that no request is sent on a connection that the server is about to close.
KEEP_ALIVE = 4.0

_FAILURES = (aiohttp.ClientError, TimeoutError)
_SHOWN = 200  # characters of what a server sent


class Session:
    """Sends requests on the running event loop; its arguments are those of `HttpClient`."""

    def __init__(
        self,
        address: Address,
        proxy: Address | None,
        headers: Mapping[str, str],
        connect_timeout: float,
        context: ssl.SSLContext | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._address, self._proxy = address, proxy
        self._timeouts = Timeouts(self.loop)
        all_headers = CIMultiDict(headers)
        self._proxy_headers: dict[str, str] = {}
        if proxy is not None and proxy.credentials:
            asks_proxy = all_headers if context is None else self._proxy_headers
            asks_proxy["Proxy-Authorization"] = proxy.credentials
        # A session's headers are cheaper than a request's, but aiohttp sends them to a proxy too.
        self._headers = None if proxy is None else all_headers
        self._urls: dict[str, URL] = {}
        self._unread: set[aiohttp.ClientResponse] = set()
        self._http = aiohttp.ClientSession(
            connector=_Connector(
                limit=0,
                keepalive_timeout=KEEP_ALIVE,
                # With aiodns installed, aiohttp's default would bypass Python's own resolver.
                resolver=aiohttp.ThreadedResolver(),
                ssl=context or True,
            ),
            headers=all_headers if proxy is None else None,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=None if proxy is None else URL(proxy.origin, encoded=True),
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
        )

    def __del__(self) -> None:
        # aiohttp logs a session that was not closed, as in a forked child.
        if not self._http.closed:
            self._http.detach()

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109
    ) -> Response:
        """Send a request and read the whole response; see `HttpClient.request`."""
        try:
            with self._timeouts.within(timeout):
                response = await self._send(method, path, body)
                content = response.content
                if content.is_eof() and content.exception() is None:
                    whole = content.read_nowait()  # most bodies arrive together with the head
                else:
                    async with self._reading(response) as streamed:
                        whole = await streamed.read()
        except _FAILURES as error:
            failure = self._translate(error)
        else:
            return Response(response.status, response.headers, whole)
        raise failure  # without aiohttp's error as its context, whose repr shows the headers

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[StreamedResponse]:
        """Send a request and wait for the head of the response; see `HttpClient.stream`."""
        try:
            with self._timeouts.within(timeout):
                response = await self._send(method, path, body)
                async with self._reading(response) as streamed:
                    yield streamed
        except _FAILURES as error:
            failure = self._translate(error)
        else:
            return
        raise failure

    async def aclose(self) -> None:
        """Close all connections; requests in flight fail."""
        for response in list(self._unread):
            response.close()
        await self._http.close()

    def _send(
        self, method: str, path: str, body: bytes | None
    ) -> Awaitable[aiohttp.ClientResponse]:
        # If the connection is lost, aiohttp sends a request again only if its method is
        # idempotent, which POST is not.
        return self._http.request(
            method,
            self._urls.get(path) or self._url(path),
            data=body,
            headers=self._headers,
            allow_redirects=False,
            proxy_headers=self._proxy_headers,
        )

    @asynccontextmanager
    async def _reading(self, response: aiohttp.ClientResponse) -> AsyncIterator[StreamedResponse]:
        self._unread.add(response)
        try:
            yield StreamedResponse(response)
        finally:
            self._unread.discard(response)
            response.close()  # which keeps the connection if the body has ended

    def _url(self, path: str) -> URL:
        address = self._address
        url = URL(f"{address.origin}{address.path}{path}{address.query}", encoded=True)
        self._urls[path] = url
        return url

    def _translate(self, error: Exception) -> HttpError:
        """The `HttpError` for one of aiohttp's errors."""
        cause = error.__cause__
        match error:
            case aiohttp.ClientConnectorCertificateError():
                failure = error.certificate_error
                return CertificateError(getattr(failure, "verify_message", "") or str(failure))
            case aiohttp.ConnectionTimeoutError():
                return ConnectTimeoutError("no connection in time")
            case TimeoutError():
                return ResponseTimeoutError("no whole response in time")
            case aiohttp.ClientHttpProxyError():
                assert self._proxy is not None
                return ConnectError(f"the proxy {self._proxy.authority} answered {error.status}")
            case aiohttp.ClientOSError() if isinstance(cause, ssl.SSLError) and _is_alert(cause):
                # With TLS 1.3 a server checks the client's certificate after the handshake.
                return CertificateError(f"it refused the TLS connection ({cause.reason})")
            case aiohttp.ClientConnectorError():
                return ConnectError(error.strerror or type(error.os_error).__name__)
            case aiohttp.InvalidURL():
                return ConnectError(f"{self._address.host} is not a host name or an IP address")
            case aiohttp.ClientResponseError():
                said = printable(error.message[:_SHOWN])
                return ProtocolError(f"it sent an invalid HTTP response: {said}")
            case aiohttp.ClientPayloadError() if isinstance(cause, ContentEncodingError):
                return ProtocolError("it sent a compressed body that cannot be decompressed")
            case aiohttp.ClientPayloadError():
                return DisconnectedError("it closed the connection before the whole answer came")
        return DisconnectedError("it closed the connection before an answer came")


class _Connector(aiohttp.TCPConnector):
    """A connection pool that checks connections before reuse, and need not be closed."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            # Something arrived while it was idle: aiohttp would take it for the next response.
            connection.close()

    def __del__(self, _: object = None) -> None:
        # A forked child drops its parent's connector. aiohttp would close the connections, which
        # would unregister them in the parent's event loop too.
        pass


def _is_alert(error: ssl.SSLError) -> bool:
    """Whether the server ended the TLS connection and said why."""
    return "ALERT" in (error.reason or "")
