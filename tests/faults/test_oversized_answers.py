"""Servers that answer without end: each call fails with a clear error, in little memory."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Iterator

import pytest
from helpers.byte_server import STREAM, ByteServer, serving

MAX_GROWTH = 200.0  # MB

# Makes one call before it measures, so that imports do not count.
CLIENT = """
import json, resource, sys
from lmpipe.errors import LMError
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Message, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def call(text):
    runtime.complete(Request(lm, (Message("user", text),)), on_text=on_text)

address, streaming = sys.argv[1:]
on_text = (lambda text: None) if streaming else None
lm = LM("vllm/m", base_url=address, timeout=60.0)
runtime = Runtime(retry=RetryPolicy(attempts=1))
call("first")
before = peak_mb()
try:
    call("second")
except LMError as error:
    kind, message = type(error).__name__, str(error)
print(json.dumps([kind, message, peak_mb() - before]))
runtime.close()
"""

MB = 2**20
COMPLETION = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})
GOOD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(COMPLETION)}\r\n\r\n{COMPLETION}".encode()
GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"


def endlessly(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def gigabyte() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1024 * MB)
    yield from [b"x" * MB] * 1024


def gigabyte_in_chunks() -> Iterator[bytes]:
    yield STREAM.replace(b"text/event-stream", b"application/json")
    yield from endlessly(b"100000\r\n" + b"x" * MB + b"\r\n")


def endless_body() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    yield from endlessly(b"x" * MB)


def endless_header() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX: "
    yield from endlessly(b"x" * MB)


def endless_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from endlessly(b"X-Header: x\r\n" * 10_000)


def endless_line() -> Iterator[bytes]:
    yield STREAM + b"6\r\ndata: \r\n"
    yield from endlessly(b"100000\r\n" + b"x" * MB + b"\r\n")


def endless_stream() -> Iterator[bytes]:
    yield STREAM
    lines = b": a comment\n" * 80_000
    yield from endlessly(b"%x\r\n%b\r\n" % (len(lines), lines))


def gzip_bomb() -> Iterator[bytes]:
    """16 MB of zeros in 16 KB, without end."""
    packer = zlib.compressobj(wbits=31)
    yield GZIP + packer.compress(bytes(16 * MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    yield from endlessly(packer.compress(bytes(16 * MB)) + packer.flush(zlib.Z_FULL_FLUSH))


TOO_LARGE = ("LMRequestError", "more than 128 MB")
TOO_LONG = ("LMRequestError", "more than 8 MB")
INVALID = ("LMUnavailableError", "invalid HTTP response")

ANSWERS = {
    "a body of 1 GB": (gigabyte, "", TOO_LARGE),
    "a body of 1 GB in chunks": (gigabyte_in_chunks, "", TOO_LARGE),
    "a body without end": (endless_body, "", TOO_LARGE),
    "a header without end": (endless_header, "", INVALID),
    "headers without end": (endless_headers, "", INVALID),
    "a line of a stream without end": (endless_line, "streaming", TOO_LONG),
    "a stream without end": (endless_stream, "streaming", TOO_LARGE),
    "a gzip bomb": (gzip_bomb, "", TOO_LARGE),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_an_oversized_answer_is_an_error_in_little_memory(case: str) -> None:
    pieces, streaming, (kind, message) = ANSWERS[case]

    async def script(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.request(reader)
        writer.write(GOOD)
        await server.request(reader)
        for piece in pieces():
            writer.write(piece)
            await writer.drain()

    async with serving(script) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, server.url, streaming, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    found, text, grown = json.loads(output)
    assert (found, message in text) == (kind, True), text
    assert grown < MAX_GROWTH
