"""A server of any JSON API that records what it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from helpers.local_http import QuietHandler, serving

# From a path and a body to the status and the body of the answer.
Answer = Callable[[str, Any], tuple[int, Any]]


class Registry:
    """What a server was sent: paths, bodies and the header `Authorization` of each request."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.paths: list[str] = []
        self.bodies: list[Any] = []
        self.authorizations: list[str | None] = []


@contextmanager
def registry(answer: Answer) -> Iterator[Registry]:
    """Serve for the length of the block."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - a name of the base class
            body = json.loads(self.body())
            found.paths.append(self.path)
            found.bodies.append(body)
            found.authorizations.append(self.headers["Authorization"])
            self.answer_json(*answer(self.path, body))

    with serving(Handler) as url:
        found = Registry(url)
        yield found
