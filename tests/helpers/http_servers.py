"""Real servers of programs, for the tests with real clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lmpipe.lm.concurrency import loop
from lmpipe.serve.app import ServeApp
from lmpipe.serve.server import HttpServer


@contextmanager
def serving(app: ServeApp, *, grace: float = 30.0) -> Iterator[HttpServer]:
    """Serve an application on a free port, on the loop of LM calls as the command does."""
    server = HttpServer(app, grace=grace)
    running = loop.submit(server.serve())
    try:
        yield server
    finally:
        server.stop()
        running.result(timeout=60)
