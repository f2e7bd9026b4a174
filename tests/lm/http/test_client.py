"""The client against servers that are scripted byte by byte."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from lmpipe.errors import ConfigError
from lmpipe.lm.http import (
    BrokenError,
    CertificateError,
    ConnectError,
    ConnectTimeoutError,
    HttpClient,
    ProtocolError,
    Response,
    ResponseTimeoutError,
)
from lmpipe.lm.http import pool as pool_module

# Of localhost and server.test alone, signed by itself; the key beside it protects nothing.
CERTIFICATE = Path(__file__).with_name("localhost.pem")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NEVER = 60.0

Script = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Runs a script for each connection."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.requests: list[bytes] = []
        self.ended = asyncio.Event()  # a script was ended by the client
        self.asked = asyncio.Event()  # a whole request has come
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._script(self, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        finally:
            writer.close()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read a request, and give its body."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length or 0))
        self.asked.set()
        return body


@asynccontextmanager
async def serving(script: Script, secure: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(script)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=secure)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


@asynccontextmanager
async def client(url: str, **options: object) -> AsyncIterator[HttpClient]:
    made = HttpClient(url, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.aclose()


def as_me(server: Server) -> AbstractAsyncContextManager[HttpClient]:
    return client(server.url.replace("//", "//me:secret@"))


def by_tls(server: Server, host: str = "localhost") -> AbstractAsyncContextManager[HttpClient]:
    return client(f"https://{host}:{server.port}")


async def ask(client: HttpClient, body: bytes | None = b"hi", within: float = NEVER) -> Response:
    return await client.request("POST", "/chat", body, timeout=within)


def answering(*answers: bytes, then_close: bool = False) -> Script:
    """Each connection answers its requests in this order, the last one for ever."""

    async def script(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        left = list(answers)
        while True:
            await server.request(reader)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            if then_close:
                return

    return script


def secured() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def _trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))


# --- requests


async def test_a_request_says_what_it_should() -> None:
    async with (
        serving(answering(OK)) as server,
        client(f"{server.url}?version=1", headers={"X-Token": "t", "x-token": "u"}) as http,
    ):
        response = await ask(http)
    assert (response.status, response.body) == (200, b"ok")
    assert server.requests == [
        b"POST /v1/chat?version=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        b"Accept-Encoding: identity\r\nx-token: u\r\nContent-Length: 2\r\n\r\n" % server.port
    ]


async def test_a_request_without_a_body_says_no_length() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        await http.request("GET", "/models", timeout=NEVER)
    assert server.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"Content-Length" not in server.requests[0]


async def test_a_user_in_the_address_is_sent_as_credentials() -> None:
    async with serving(answering(OK)) as server, as_me(server) as http:
        await ask(http)
    sent = base64.b64encode(b"me:secret")
    assert b"Authorization: Basic " + sent + b"\r\n" in server.requests[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-A", "a\r\nX-B: b"), ("X-A", "a\nb"), ("X-A", "é"), ("X-A", "\0"), ("X A", "a"),
     ("X\r\nB", "a"), ("", "a"), ("Content-Length", "1"), ("transfer-encoding", "chunked")],
)  # fmt: skip
def test_headers_that_would_break_the_request_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HttpClient("http://x", headers={name: value})
    assert "X-B: b" not in str(caught.value)


def test_two_kinds_of_credentials_are_refused() -> None:
    with pytest.raises(ConfigError, match="only one") as caught:
        HttpClient("http://me:hunter2@x", headers={"authorization": "Bearer y"})
    assert "hunter2" not in str(caught.value)


async def test_redirects_are_not_followed() -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(answer)) as server, client(server.url) as http:
        response = await ask(http)
    assert (response.status, response.headers["Location"]) == (302, "/x")
    assert len(server.requests) == 1


# --- connections


async def test_a_connection_serves_many_requests() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        for _ in range(5):
            await ask(http)
    assert (server.connections, len(server.requests)) == (1, 5)


async def test_requests_at_once_have_a_connection_each() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        await asyncio.gather(*(ask(http) for _ in range(20)))
    assert server.connections == 20


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"surplus",
    ],
)
async def test_a_connection_that_may_not_be_kept_is_closed(answer: bytes) -> None:
    async with serving(answering(answer)) as server, client(server.url) as http:
        assert [(await ask(http)).body for _ in range(2)] == [b"ok"] * 2
    assert server.connections == 2


async def test_a_body_may_end_with_the_connection() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\n\r\nok", then_close=True)
    async with serving(script) as server, client(server.url) as http:
        assert (await ask(http)).body == b"ok"


async def test_an_idle_connection_that_is_old_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "KEEP_IDLE", -1.0)
    async with serving(answering(OK)) as server, client(server.url) as http:
        await ask(http)
        await ask(http)
    assert server.connections == 2


async def test_a_reused_connection_that_is_closed_is_replaced() -> None:
    async def script(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(OK)
        await server.request(reader)  # which it never answers
        if server.connections > 1:
            writer.write(OK)

    async with serving(script) as server, client(server.url) as http:
        assert [(await ask(http)).body for _ in range(2)] == [b"ok"] * 2
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_fresh_connection_that_is_closed_is_an_error() -> None:
    async with serving(answering(b"", then_close=True)) as server, client(server.url) as http:
        with pytest.raises(BrokenError, match="before an answer"):
            await ask(http)
    assert server.connections == 1


async def test_half_an_answer_is_not_asked_for_again() -> None:
    async def half(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(OK)
        await server.request(reader)
        writer.write(OK[:-1])

    async with serving(half) as server, client(server.url) as http:
        await ask(http)
        with pytest.raises(BrokenError, match="before all"):
            await ask(http)
    assert server.connections == 1


async def test_what_is_no_http_is_refused() -> None:
    async with serving(answering(b"SSH-2.0-x\r\n")) as server, client(server.url) as http:
        with pytest.raises(ProtocolError, match="SSH"):
            await ask(http)


async def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{taken.getsockname()[1]}") as http:
            with pytest.raises(ConnectError):
                await ask(http)


async def test_another_loop_opens_its_own_connections() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        await ask(http)

        def elsewhere() -> bytes:
            async def run() -> bytes:
                async with client(server.url) as other:
                    first = await ask(other)
                return first.body

            return asyncio.run(run())

        assert await asyncio.to_thread(elsewhere) == b"ok"
        await ask(http)
    assert server.connections == 2


async def test_a_closed_client_can_be_used_again() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        await ask(http)
        await http.aclose()
        assert (await ask(http)).body == b"ok"


# --- time


async def dripping(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.001)


async def silent(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.request(reader)
    await reader.readexactly(1)


@pytest.mark.parametrize("script", [silent, dripping])
async def test_a_whole_response_must_come_in_time(script: Script) -> None:
    async with serving(script) as server, client(server.url) as http:
        with pytest.raises(ResponseTimeoutError):
            await ask(http, within=0.05)


async def test_a_shorter_time_holds_after_a_longer_one() -> None:
    async def script(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(OK)
        await silent(server, reader, writer)

    async with serving(script) as server, client(server.url) as http:
        await ask(http, within=NEVER)
        with pytest.raises(ResponseTimeoutError):
            await ask(http, within=0.05)
    assert server.connections == 1


async def test_a_connection_must_come_in_time() -> None:
    async def never_shakes_hands(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read()

    async with serving(never_shakes_hands) as server:
        url = server.url.replace("http:", "https:")
        async with client(url, connect_timeout=0.05) as http:
            with pytest.raises(ConnectTimeoutError):
                await ask(http)
        async with client(url) as http:
            with pytest.raises(ResponseTimeoutError):
                await ask(http, within=0.05)


@pytest.mark.parametrize("script", [silent, dripping])
async def test_a_request_that_is_cancelled_closes_its_connection(script: Script) -> None:
    async with serving(script) as server, client(server.url) as http:
        asking = asyncio.create_task(ask(http))
        await server.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.ended.wait()


@pytest.mark.parametrize("steps", range(12))
async def test_a_request_can_be_cancelled_at_any_step(steps: int) -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        asking = asyncio.create_task(ask(http))
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (await ask(http)).body == b"ok"


async def test_closing_ends_what_is_under_way() -> None:
    async with serving(silent) as server, client(server.url) as http:
        asking = asyncio.create_task(ask(http))
        await server.asked.wait()
        await http.aclose()
        with pytest.raises(BrokenError, match="closed here"):
            await asking


# --- streams

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_lines_are_told_before_the_response_is_over() -> None:
    told = asyncio.Event()

    async def script(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for _ in range(2):
            told.clear()
            await server.request(reader)
            writer.write(STREAM + b"5\r\na\nb\nc\r\n")
            await told.wait()
            writer.write(b"3\r\nc\r\n\r\n1\r\nd\r\n0\r\n\r\n")

    async with serving(script) as server, client(server.url) as http:
        for _ in range(2):
            lines = []
            async with http.stream("POST", "/chat", b"", timeout=NEVER) as response:
                async for line in response.lines():
                    lines.append(line)
                    told.set()
            assert lines == [b"a\n", b"b\n", b"cc\r\n", b"d"]
    assert server.connections == 1


async def test_a_streamed_response_can_be_read_as_a_whole() -> None:
    async with (
        serving(answering(OK)) as server,
        client(server.url) as http,
        http.stream("POST", "/chat", b"", timeout=NEVER) as response,
    ):
        assert (response.status, await response.read()) == (200, b"ok")


async def test_a_stream_that_is_left_closes_its_connection() -> None:
    async def script(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(STREAM + b"2\r\na\n\r\n")
        await reader.readexactly(1)

    async with serving(script) as server, client(server.url) as http:
        async with http.stream("POST", "/chat", b"", timeout=NEVER) as response:
            async for _ in response.lines():
                break
        await server.ended.wait()


async def test_a_stream_that_breaks_off_is_an_error() -> None:
    script = answering(STREAM + b"2\r\na\n\r\n", then_close=True)
    async with serving(script) as server, client(server.url) as http:
        with pytest.raises(BrokenError):
            async with http.stream("POST", "/chat", b"", timeout=NEVER) as response:
                assert [line async for line in response.lines()] == []


async def test_a_stream_must_end_in_time() -> None:
    async with serving(answering(STREAM + b"2\r\na\n\r\n")) as server, client(server.url) as http:
        with pytest.raises(ResponseTimeoutError):
            async with http.stream("POST", "/chat", b"", timeout=0.05) as response:
                await response.read()


# --- TLS and proxies


@pytest.mark.usefixtures("_trusted")
async def test_a_server_with_a_certificate_is_asked() -> None:
    async with serving(answering(OK), secured()) as server, by_tls(server) as http:
        assert [(await ask(http)).body for _ in range(2)] == [b"ok"] * 2
    assert server.connections == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    async with serving(answering(OK), secured()) as server, by_tls(server) as http:
        with pytest.raises(CertificateError, match="self-signed"):
            await ask(http)


@pytest.mark.usefixtures("_trusted")
async def test_a_certificate_for_another_host_is_refused() -> None:
    async with serving(answering(OK), secured()) as server, by_tls(server, "127.0.0.1") as http:
        with pytest.raises(CertificateError, match="mismatch"):
            await ask(http)


async def test_a_server_without_tls_cannot_be_reached_by_https() -> None:
    async def script(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(script) as server, by_tls(server) as http:
        with pytest.raises(ConnectError):
            await ask(http)


async def test_a_proxy_is_asked_for_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
        async with client("http://server.test:81/v1") as http:
            assert (await ask(http)).body == b"ok"
    head = proxy.requests[0]
    assert head.startswith(b"POST http://server.test:81/v1/chat HTTP/1.1\r\nHost: server.test:81")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:secret") in head


@pytest.mark.usefixtures("_trusted")
async def test_https_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(
        server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.start_tls(secured())
        await answering(OK)(server, reader, writer)

    async with serving(script) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:secret@127.0.0.1:{proxy.port}")
        async with client("https://server.test/v1", headers={"X-Token": "t"}) as http:
            assert [(await ask(http)).body for _ in range(2)] == [b"ok"] * 2
    connect, *requests = proxy.requests
    assert connect.startswith(b"CONNECT server.test:443 HTTP/1.1\r\nHost: server.test:443\r\n")
    assert b"Proxy-Authorization: Basic " in connect
    assert b"X-Token" not in connect
    assert all(head.startswith(b"POST /v1/chat ") for head in requests)
    assert all(b"Proxy-Authorization" not in head for head in requests)


async def test_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(answer)) as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        async with client("https://server.test/v1") as http:
            with pytest.raises(ConnectError, match=r"proxy 127\.0\.0\.1:\d+ answered 407"):
                await ask(http)


async def test_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.test:1")
    async with serving(answering(OK)) as server, client(server.url) as http:
        assert (await ask(http)).body == b"ok"


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://me:hunter2@127.0.0.1:1")
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        HttpClient("https://server.test")
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "server.test")
    HttpClient("https://server.test")
