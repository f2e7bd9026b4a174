"""A TCP server that runs a script for each connection, so that a test decides on every byte.

async with serving(answering(OK)) as server:
    ...  # connect to server.url
    assert server.requests == [b"POST /v1/chat HTTP/1.1\\r\\n…"]
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

Script = Callable[["ByteServer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class ByteServer:
    """The server's state.

    Attributes:
        connections: The number of connections that were accepted.
        requests: The heads of the requests that were read.
        asked: Set once a whole request was read.
        ended: Set once the client has ended a connection.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.connections = 0
        self.requests: list[bytes] = []
        self.ended = asyncio.Event()
        self.asked = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL of requests."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Run the script for one connection."""
        self.connections += 1
        try:
            await self._script(self, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        finally:
            writer.close()

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        """Read a request; returns its body."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length or 0))
        self.asked.set()
        return body


@asynccontextmanager
async def serving(
    script: Script, secure: ssl.SSLContext | None = None
) -> AsyncIterator[ByteServer]:
    """Serve a script on a free loopback port, over TLS if `secure` is given."""
    server = ByteServer(script)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=secure)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


def answering(*answers: bytes, then_close: bool = False) -> Script:
    """Each connection gives these answers in this order, repeating the last one.

    Args:
        answers: Whole HTTP responses.
        then_close: Close the connection after the first answer.
    """

    async def script(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        left = list(answers)
        while True:
            await server.request(reader)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            if then_close:
                return

    return script


async def silent(
    server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Read a request and never answer."""
    await server.request(reader)
    await reader.readexactly(1)


async def dripping(
    server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer with a body that arrives byte by byte and does not end."""
    await server.request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.001)
