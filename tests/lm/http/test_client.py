"""The client against servers that are scripted byte by byte."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from helpers.byte_server import (
    OK,
    STREAM,
    ByteServer,
    Script,
    answering,
    dripping,
    serving,
    silent,
)

from lmpipe.errors import ConfigError
from lmpipe.lm.http import session as session_module
from lmpipe.lm.http.client import HttpClient
from lmpipe.lm.http.errors import (
    ConnectError,
    ConnectTimeoutError,
    DisconnectedError,
    HttpError,
    ProtocolError,
    ResponseTimeoutError,
)
from lmpipe.lm.http.response import Response

NEVER = 60.0


@asynccontextmanager
async def client(url: str, **options: object) -> AsyncIterator[HttpClient]:
    made = HttpClient(url, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.aclose()


async def ask(client: HttpClient, body: bytes | None = b"hi", within: float = NEVER) -> Response:
    return await client.request("POST", "/chat", body, timeout=within)


async def body_of(answer: bytes, *, then_close: bool = False) -> bytes:
    """The body of a scripted answer, as the client reads it."""
    script = answering(answer, then_close=then_close)
    async with serving(script) as server, client(server.url) as http:
        return (await ask(http)).body


async def steps_of_the_loop() -> None:
    """Let what was sent arrive."""
    for _ in range(30):
        await asyncio.sleep(0)


# --- requests


async def test_a_request_contains_what_it_should() -> None:
    async with (
        serving(answering(OK)) as server,
        client(f"{server.url}?version=1", headers={"X-Token": "t", "x-token": "u"}) as http,
    ):
        response = await ask(http)
    assert (response.status, response.body) == (200, b"ok")
    (head,) = server.requests
    first, *fields = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert first == "POST /v1/chat?version=1 HTTP/1.1"
    assert sorted(fields) == [
        "Accept-Encoding: identity",
        "Accept: */*",
        "Content-Length: 2",
        "Content-Type: application/octet-stream",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: lmpipe",
        "x-token: u",
    ]


async def test_a_request_without_a_body_has_no_length() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        await http.request("GET", "/models", timeout=NEVER)
    assert server.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"Content-Length" not in server.requests[0]


async def test_a_user_in_the_address_is_sent_as_credentials() -> None:
    async with (
        serving(answering(OK)) as server,
        client(server.url.replace("//", "//me:secret@")) as http,
    ):
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


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with serving(answering(OK)) as other:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n"
        async with serving(answering(head.encode())) as server, client(server.url) as http:
            response = await ask(http)
    assert (response.status, response.headers["location"]) == (status, other.url)
    assert (len(server.requests), other.connections) == (1, 0)


async def test_cookies_are_not_kept() -> None:
    answer = OK.replace(b"\r\n", b"\r\nSet-Cookie: a=b\r\n", 1)
    async with serving(answering(answer)) as server, client(server.url) as http:
        await ask(http)
        await ask(http)
    assert b"Cookie" not in server.requests[1]


# --- responses


async def test_headers_are_found_in_any_case() -> None:
    answer = OK.replace(b"\r\n", b"\r\nRETRY-after:  7 \r\n", 1)
    async with serving(answering(answer)) as server, client(server.url) as http:
        headers = (await ask(http)).headers
    assert (headers["retry-after"], headers.get("Retry-After"), headers.get("x")) == (
        "7",
        "7",
        None,
    )


async def test_a_body_may_end_with_the_connection() -> None:
    assert await body_of(b"HTTP/1.1 200 OK\r\n\r\nok", then_close=True) == b"ok"


async def test_a_body_may_come_in_chunks_with_extensions_and_trailers() -> None:
    chunks = b'3;name="x"\r\nabc\r\nA\r\n0123456789\r\n0\r\nDigest: y\r\n\r\n'
    assert await body_of(STREAM + chunks) == b"abc0123456789"


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_no_body(status: int) -> None:
    answer = f"HTTP/1.1 {status} x\r\n\r\n".encode()
    assert await body_of(answer) == b""


async def test_interim_responses_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert await body_of(interim + OK) == b"ok"


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(b"abc" * 99, mtime=0),
    "gzip in two members": gzip.compress(b"abc" * 33) + gzip.compress(b"abc" * 66),
    "deflate": zlib.compress(b"abc" * 99),
    "deflate without a header": raw_deflate(b"abc" * 99),
    "identity": b"abc" * 99,
}


@pytest.mark.parametrize("kind", PACKED)
async def test_a_body_that_is_compressed_though_not_asked_for_is_unpacked(kind: str) -> None:
    packed, encoding = PACKED[kind], kind.split()[0].encode()
    fields = (b"Content-Encoding: " + encoding, b"Content-Length: %d" % len(packed))
    head = b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(fields) + b"\r\n\r\n"
    assert await body_of(head + packed) == b"abc" * 99


INVALID = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no status": b"HTTP/1.1 x OK\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
    "a null byte": b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a length that is not a number": b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length of 5,000 digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a chunk without a size": STREAM + b"-1\r\n",
    "a chunk that is longer than its size": STREAM + b"1\r\nabc",
    "a body that is not gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 4\r\n\r\nabcd",
}


@pytest.mark.parametrize("case", INVALID)
async def test_an_invalid_response_is_refused(case: str) -> None:
    async with serving(answering(INVALID[case])) as server, client(server.url) as http:
        with pytest.raises(ProtocolError, match="it sent"):
            await ask(http)


async def test_the_error_for_an_invalid_response_is_short() -> None:
    async with serving(answering(b"x" * 10_000)) as server, client(server.url) as http:
        with pytest.raises(ProtocolError) as caught:
            await ask(http)
    assert len(str(caught.value)) < 300


async def test_terminal_escapes_of_an_invalid_response_reach_no_error() -> None:
    answer = b"\x1b[31mHTTP/1.1 \x1b]0;title\x07 200\r\n\r\n"
    async with serving(answering(answer)) as server, client(server.url) as http:
        with pytest.raises(ProtocolError) as caught:
            await ask(http)
    assert not {"\x1b", "\x07"} & set(str(caught.value))


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b""])
async def test_errors_do_not_carry_the_headers(answer: bytes) -> None:
    headers = {"Authorization": "Bearer sk-secret"}
    script = answering(answer, then_close=True)
    async with serving(script) as server, client(server.url, headers=headers) as http:
        with pytest.raises(HttpError) as caught:
            await ask(http)
        with pytest.raises(HttpError) as streamed:
            async with http.stream("POST", "/chat", b"", timeout=NEVER):
                pass
    for error in (caught.value, streamed.value):
        chain: BaseException | None = error
        while chain is not None:
            assert "sk-secret" not in repr(chain)
            chain = chain.__cause__ or chain.__context__


# --- connections


async def test_a_connection_serves_many_requests() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        for _ in range(5):
            await ask(http)
    assert (server.connections, len(server.requests)) == (1, 5)


async def test_requests_at_once_have_a_connection_each() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        await asyncio.gather(*(ask(http) for _ in range(200)))
    assert server.connections == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_may_not_be_kept_is_closed(answer: bytes) -> None:
    async with serving(answering(answer)) as server, client(server.url) as http:
        assert [(await ask(http)).body for _ in range(2)] == [b"ok"] * 2
    assert server.connections == 2


async def test_a_second_response_to_one_request_is_not_used() -> None:
    async with serving(answering(OK + OK[:-2] + b"no")) as server, client(server.url) as http:
        assert [(await ask(http)).body for _ in range(2)] == [b"ok"] * 2
    assert server.connections == 2


async def test_a_response_that_arrives_before_its_request_is_not_used() -> None:
    surplus = asyncio.Event()

    async def script(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(OK)
        await surplus.wait()
        writer.write(OK[:-2] + b"no")
        await silent(server, reader, writer)

    async with serving(script) as server, client(server.url) as http:
        await ask(http)
        surplus.set()
        await steps_of_the_loop()
        assert (await ask(http)).body == b"ok"
    assert server.connections == 2


async def test_bytes_after_a_response_are_refused() -> None:
    async with serving(answering(OK + b"surplus")) as server, client(server.url) as http:
        with pytest.raises(ProtocolError, match="oksurplus"):
            await ask(http)


def test_idle_connections_are_dropped_before_servers_drop_them() -> None:
    assert 0 < session_module.KEEP_ALIVE < 5  # seconds, uvicorn's default and so vLLM's


async def test_an_idle_connection_that_is_old_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "KEEP_ALIVE", -1.0)
    async with serving(answering(OK)) as server, client(server.url) as http:
        await ask(http)
        await ask(http)
    assert server.connections == 2


async def test_an_idle_connection_that_the_server_has_closed_is_not_used() -> None:
    async with serving(answering(OK, then_close=True)) as server, client(server.url) as http:
        await ask(http)
        await steps_of_the_loop()  # in which the client sees the end
        assert (await ask(http)).body == b"ok"
    assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize("body", [b"hi", None])
async def test_a_post_that_the_server_has_read_is_not_sent_again(body: bytes | None) -> None:
    async def reads_and_closes(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(OK)
        await server.request(reader)  # and closes the connection

    async with serving(reads_and_closes) as server, client(server.url) as http:
        await ask(http, body)
        with pytest.raises(DisconnectedError, match="before an answer"):
            await ask(http, body)
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_a_fresh_connection_that_is_closed_is_an_error() -> None:
    async with serving(answering(b"", then_close=True)) as server, client(server.url) as http:
        with pytest.raises(DisconnectedError, match="before an answer"):
            await ask(http)
    assert (server.connections, len(server.requests)) == (1, 1)


@pytest.mark.parametrize("cut", [OK[:-1], OK[:20], STREAM + b"3\r\nabc\r\n"])
async def test_a_request_with_half_an_answer_is_not_sent_again(cut: bytes) -> None:
    async def half(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(OK)
        await server.request(reader)
        writer.write(cut)

    async with serving(half) as server, client(server.url) as http:
        await ask(http)
        with pytest.raises(DisconnectedError, match="closed the connection before"):
            await ask(http)
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_a_port_where_nobody_listens_is_not_connected_to() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{taken.getsockname()[1]}") as http:
            with pytest.raises(ConnectError):
                await ask(http)


async def test_a_name_that_cannot_be_resolved_is_not_connected_to() -> None:
    async with client("http://name.invalid") as http:
        with pytest.raises(ConnectError):
            await ask(http)


async def test_another_loop_opens_its_own_connections() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        await ask(http)

        def elsewhere() -> bytes:
            async def run() -> bytes:
                try:
                    return (await ask(http)).body
                finally:
                    await http.aclose()

            return asyncio.run(run())

        assert await asyncio.to_thread(elsewhere) == b"ok"
        await ask(http)
    assert server.connections == 3


async def test_a_closed_client_can_be_used_again() -> None:
    async with serving(answering(OK)) as server, client(server.url) as http:
        await ask(http)
        await http.aclose()
        assert (await ask(http)).body == b"ok"


# --- time


@pytest.mark.parametrize("script", [silent, dripping])
async def test_a_whole_response_must_arrive_in_time(script: Script) -> None:
    async with serving(script) as server, client(server.url) as http:
        with pytest.raises(ResponseTimeoutError):
            await ask(http, within=0.05)


async def test_each_request_has_its_own_timeout() -> None:
    async def script(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(OK)
        await silent(server, reader, writer)

    async with serving(script) as server, client(server.url) as http:
        await ask(http, within=NEVER)
        with pytest.raises(ResponseTimeoutError):
            await ask(http, within=0.05)
    assert server.connections == 1


async def test_a_connection_must_open_in_time() -> None:
    async def never_shakes_hands(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
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


@pytest.mark.parametrize("script", [silent, dripping])
async def test_closing_the_client_ends_its_requests(script: Script) -> None:
    async with serving(script) as server, client(server.url) as http:
        asking = asyncio.create_task(ask(http))
        await server.asked.wait()
        await steps_of_the_loop()  # in which the head of the response arrives
        await http.aclose()
        with pytest.raises(DisconnectedError):
            await asking


# --- streams


async def test_lines_are_yielded_before_the_response_is_over() -> None:
    seen = asyncio.Event()

    async def script(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for _ in range(2):
            seen.clear()
            await server.request(reader)
            writer.write(STREAM + b"5\r\na\nb\nc\r\n")
            await seen.wait()
            writer.write(b"3\r\nc\r\n\r\n1\r\nd\r\n0\r\n\r\n")

    async with serving(script) as server, client(server.url) as http:
        for _ in range(2):
            lines = []
            async with http.stream("POST", "/chat", b"", timeout=NEVER) as response:
                assert response.media_type == "text/event-stream"
                async for line in response.lines():
                    lines.append(line)
                    seen.set()
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
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
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
        with pytest.raises(DisconnectedError, match="before the whole answer"):
            async with http.stream("POST", "/chat", b"", timeout=NEVER) as response:
                assert [line async for line in response.lines()] == []


async def test_a_stream_must_end_in_time() -> None:
    async with serving(answering(STREAM + b"2\r\na\n\r\n")) as server, client(server.url) as http:
        with pytest.raises(ResponseTimeoutError):
            async with http.stream("POST", "/chat", b"", timeout=0.05) as response:
                await response.read()
