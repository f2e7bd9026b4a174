"""What all the servers share: keys, records, refusals, numbered samples and streams."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from helpers.fake_server import InThread
from helpers.provider_servers.model import Answer, Question, answer

Body = dict[str, Any]

KEY = "sk-right-0123456789"


def names(text: str) -> frozenset[str]:
    """The names in a text, which are easier to read so than as a set of strings."""
    return frozenset(text.split())


class RefusedError(Exception):
    """A request that the provider refuses, with the answer that it gives."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Received:
    """One request, as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: Body


class ProviderServer(InThread, ABC):
    """A server with one provider's API, for a `with` block.

    Args:
        key: the only key that it accepts.
    """

    # The path of the address that users give for the provider.
    base_path = ""

    def __init__(self, *, key: str = KEY) -> None:
        super().__init__(web.Application(client_max_size=2**26, middlewares=[self._refuse]))
        self.key = key
        self.received: list[Received] = []  # the requests that were not refused
        self.refused: list[RefusedError] = []
        self.questions: list[Question] = []  # those that the model was asked
        self.answers: list[Answer] = []
        self._asked: Counter[str] = Counter()  # how often, by hash
        self._prefixes: set[str] = set()
        self.add_routes(self.app.router)

    @property
    def url(self) -> str:
        """The address for `LM(…, base_url=)`."""
        return f"http://127.0.0.1:{self.port}{self.base_path}"

    @property
    def bodies(self) -> list[Body]:
        """The bodies of the requests that were answered."""
        return [received.body for received in self.received]

    @abstractmethod
    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the handlers of the provider's paths."""

    @abstractmethod
    def check_key(self, headers: Mapping[str, str]) -> None:
        """Raise `RefusedError` if a request has not the right key."""

    async def accept(self, request: web.Request) -> Body:
        """Check the key, and read the body."""
        self.check_key(request.headers)
        body: Body = await request.json()
        return body

    def record(self, request: web.Request, body: Body) -> None:
        self.received.append(Received(request.path, dict(request.headers), body))

    def sample_number(self, body: Body, *, greedy: bool) -> int:
        """How often the same was asked before; a greedy model always says the same."""
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self._asked[digest] += 1
        return 0 if greedy else self._asked[digest] - 1

    def knows_prefix(self, prefix: str) -> bool:
        """Whether a prefix came before, so that its tokens are cached."""
        known = prefix in self._prefixes
        self._prefixes.add(prefix)
        return known

    def say(self, question: Question, *, thinks: bool, limit: int | None) -> Answer:
        """The model's answer."""
        self.questions.append(question)
        said = answer(question, thinks=thinks, limit=limit)
        self.answers.append(said)
        return said

    @web.middleware
    async def _refuse(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            answered: web.StreamResponse = await handler(request)
        except RefusedError as refused:
            self.refused.append(refused)
            return web.json_response(refused.body, status=refused.status, headers=refused.headers)
        return answered


async def send_events(
    request: web.Request, events: Iterable[bytes], media_type: str = "text/event-stream"
) -> web.StreamResponse:
    """Send a stream, each event as one piece."""
    response = web.StreamResponse(headers={"Content-Type": media_type})
    await response.prepare(request)
    for event in events:
        await response.write(event)
    return response


def data_event(value: Any) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def named_event(name: str, value: Any) -> bytes:
    """A server-sent event with a name."""
    return f"event: {name}\n".encode() + data_event(value)
