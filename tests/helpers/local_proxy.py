"""A forward proxy on a free loopback port: absolute URLs and CONNECT tunnels."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LocalProxy:
    """Forwards each connection to one port of this machine, whatever host it asks for.

    Args:
        upstream: The port to forward to.
        credentials: `user:password` that the proxy demands, if any; it answers 407 without them.

    Attributes:
        heads: The heads of the requests to the proxy itself: those with absolute URLs, and CONNECT.
    """

    def __init__(self, upstream: int, credentials: str = "") -> None:
        self._upstream = upstream
        self._wanted = base64.b64encode(credentials.encode()) if credentials else b""
        self.heads: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self._wanted and b"Proxy-Authorization: Basic " + self._wanted not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            to_server.write(head)
        await asyncio.gather(_copy(reader, to_server), _copy(from_server, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass  # either side may go
    finally:
        writer.close()


@asynccontextmanager
async def proxying(upstream: int, credentials: str = "") -> AsyncIterator[LocalProxy]:
    """Run a proxy for the length of the block."""
    proxy = LocalProxy(upstream, credentials)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield proxy
