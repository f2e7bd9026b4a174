"""`HttpServer`: serves the application with uvicorn, and stops without dropping requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from lmpipe.errors import ConfigError
from lmpipe.serve.app import ServeApp

_BACKLOG = 2048
_LAST_WORDS = 1.0  # seconds to tell the clients of runs that were ended


class HttpServer:
    """A server of HTTP. It listens from when it is made, and answers while `serve` runs.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port; 0 finds a free one.
        grace: the seconds that requests in flight have to end after `stop`.
        around: puts another application around it, such as one that traces requests.

    Raises:
        ConfigError: if the address cannot be used.
    """

    def __init__(
        self,
        app: ServeApp,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        grace: float = 30.0,
        around: Callable[[ASGIApp], ASGIApp] | None = None,
    ) -> None:
        self._app = app
        self._socket = _listen(host, port)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app if around is None else around(app),
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=max(1, round(grace)),
            )
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stops = 0
        self.host = host
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        """Its address, as this machine reaches it."""
        everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        host = everywhere.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def serve(self, *beside: Coroutine[Any, Any, None]) -> None:
        """Answer requests until `stop`, then until those in flight have ended.

        `beside` runs as long as the server takes requests.
        """
        tasks = [asyncio.create_task(coroutine) for coroutine in beside]
        self._loop = asyncio.get_running_loop()
        try:
            await self._server.serve(sockets=[self._socket])
            if ended := self._server.server_state.tasks:
                await asyncio.wait(ended, timeout=_LAST_WORDS)
        finally:
            self._loop = None
            self._socket.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Stop listening, if `serve` will not be awaited."""
        self._socket.close()

    def stop(self) -> None:
        """Take no more requests, and let those in flight end.

        Called again, it ends them too, and a third time it waits for nothing. Signal handlers and
        other threads may call it.
        """
        self._app.ready = False
        self._stops += 1
        self._server.should_exit = True
        self._server.force_exit = self._stops > 2
        if self._stops == 2 and self._loop is not None:
            self._loop.call_soon_threadsafe(self._end_requests)

    def _end_requests(self) -> None:
        for task in self._server.server_state.tasks:
            task.cancel()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {reason}; choose another with --port, or "
            "--port 0 for a free one"
        ) from error
