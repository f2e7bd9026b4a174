"""A server that records the body of each request and answers any path from a list."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from helpers.fake_server import Serving


class RecordingServer:
    """It answers with JSON, or with the lines of a stream, the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self.url = ""
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self._answers = list(answers)
        self.app = web.Application(client_max_size=2**30)
        self.app.router.add_route("*", "/{path:.*}", self._answer)

    @property
    def body(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.bodies[-1]

    async def _answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.bodies.append(await request.json() if request.can_read_body else {})
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, list):
            lines = (item if isinstance(item, str) else sse(item) for item in answer)
            return web.Response(text="".join(lines), content_type="text/event-stream")
        return web.json_response(answer)


def sse(event: dict[str, Any]) -> str:
    """One server-sent event, with its type if it has one."""
    kind = f"event: {event['type']}\n" if "type" in event else ""
    return f"{kind}data: {json.dumps(event)}\n\n"


@asynccontextmanager
async def recording(*answers: Any) -> AsyncIterator[RecordingServer]:
    """Serve for the length of the block."""
    server = RecordingServer(*answers)
    serving = Serving(server.app)
    server.url = f"http://127.0.0.1:{await serving.start()}"
    try:
        yield server
    finally:
        await serving.stop()
