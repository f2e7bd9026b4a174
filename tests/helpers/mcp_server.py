"""An MCP server in a process of its own, made with the official package.

`python mcp_server.py` serves on its standard input and output, and `python mcp_server.py FD` over
streamable HTTP on a listening socket. It then wants the header `x-key: secret`.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import sys
from typing import Any

from mcp.server.mcpserver import Image, MCPServer
from mcp_types import ToolAnnotations

_DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
DOT = base64.b64decode(_DOT)

server = MCPServer("places")
reads = ToolAnnotations(read_only_hint=True)


@server.tool(annotations=reads)
def distance(start: str, end: str) -> int:
    """Tell the kilometres between two places."""
    return 100 * abs(len(start) - len(end))


@server.tool(annotations=reads)
def picture() -> Image:
    """Draw a dot."""
    return Image(data=DOT, format="png")


@server.tool(annotations=reads)
def fail() -> str:
    """Never works."""
    raise ValueError("the map is lost")


@server.tool(name="book.room")
def book_room(city: str) -> str:
    """Book a room."""
    path = os.environ.get("BOOKINGS")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{city}\n")
    return f"booked in {city}"


@server.tool(annotations=reads)
async def wait() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    return ""


@server.tool(annotations=reads)
def end() -> str:
    """End the server's process."""
    os._exit(3)


def key_wanted(app: Any) -> Any:
    """Refuse requests without the key."""

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"x-key", b"secret") not in scope["headers"]:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"no key"})
            return
        await app(scope, receive, send)

    return checked


def main() -> None:
    if len(sys.argv) == 1:
        server.run("stdio")
        return
    import uvicorn

    config = uvicorn.Config(key_wanted(server.streamable_http_app()), log_level="error")
    uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
