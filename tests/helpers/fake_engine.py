"""An engine without weights, for tests of the embedded LM's provider and slots."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from lmpipe.lm.embedded.engine import Completion, EngineError, EngineStopped, OnPiece
from lmpipe.lm.embedded.provider import LocalProvider
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request
from lmpipe.state.usage import Usage


class FakeEngine:
    """An engine that answers with the last turn of the request and records what it was sent."""

    version = "fake-1"

    def __init__(self, slots: int = 2, *, context: int = 8192) -> None:
        self.slots = slots
        self.context = context
        self.gate = threading.Event()
        self.gate.set()
        self.bodies: list[Mapping[str, Any]] = []
        self.saved: list[str] = []
        self.restored: list[tuple[int, str]] = []
        self.running = 0
        self.max_running = 0
        self.closed = False
        self.can_save = True
        self.reasoning = ""
        self.error: Mapping[str, Any] | None = None
        self._lock = threading.Lock()

    def chat(
        self,
        body: Mapping[str, Any],
        stop: threading.Event,
        on_piece: OnPiece | None = None,
    ) -> Completion:
        with self._lock:
            self.bodies.append(body)
            self.running += 1
            self.max_running = max(self.max_running, self.running)
        while not self.gate.wait(timeout=0.01):
            if stop.is_set() or self.closed:
                break
        with self._lock:
            self.running -= 1
        if stop.is_set() or self.closed:
            raise EngineStopped
        if self.error is not None:
            raise EngineError(self.error)
        if on_piece is not None:
            if self.reasoning:
                on_piece("", self.reasoning)
            for word in body["messages"][-1]["content"].split(" "):
                on_piece(word + " ", "")
        finish = "length" if body.get("max_tokens", 8) <= 1 else "stop"
        text = body["messages"][-1]["content"]
        return Completion(text, finish, Usage(10, 2, 4), self.reasoning)

    def save(self, slot: int, name: str) -> int:
        if not self.can_save:
            raise OSError("this kind of model cannot be saved")
        self.saved.append(name)
        return 100

    def restore(self, slot: int, name: str) -> None:
        self.restored.append((slot, name))

    def forget(self, name: str) -> None:
        self.saved.remove(name)

    def close(self) -> None:
        self.closed = True

    @property
    def computed(self) -> list[Mapping[str, Any]]:
        """The requests that only compute a prompt."""
        return [body for body in self.bodies if body.get("max_tokens") == 0]


def provider_of(engine: FakeEngine) -> LocalProvider:
    """A provider that opens this engine for every LM."""
    return LocalProvider(open_engine=lambda path, context: engine)


def make_request(lm: LM, *turns: str, **settings: Any) -> Request:
    """A request of one or two turns: a user turn, or a system and a user turn."""
    roles = ("system", "user") if len(turns) == 2 else ("user",)
    messages = tuple(Message(role, turn) for role, turn in zip(roles, turns, strict=True))
    return Request(lm, messages, **settings)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - engines run in threads
            await asyncio.sleep(0)
