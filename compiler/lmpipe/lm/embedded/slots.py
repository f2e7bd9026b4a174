"""Assign requests to an engine's slots so that each shared prompt prefix is computed once.

All calls of one predictor start with the same turns. The first of several such calls computes this
prefix and saves it to a file; any slot loads it from there about a hundred times faster than it
could compute it. llama.cpp's own cache moves a prompt from slot to slot; it does not copy it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from lmpipe.foundation.canonical_json import canonical_json, digest
from lmpipe.lm.embedded.engine import Completion, Engine, EngineStopped, OnPiece
from lmpipe.lm.message import Message

T = TypeVar("T")

_MIN_PREFIX = 400  # characters; computing a shorter prefix is cheaper than saving it
_MAX_SAVED_BYTES = 512 << 20
_MAX_SEEN = 4096  # prefixes that are remembered without being saved


@dataclass(eq=False, slots=True)
class _Call:
    body: Mapping[str, Any]
    messages: Sequence[Message]
    prefix: str  # its name, or "" if it is too short to save
    reply: asyncio.Future[Completion]
    seconds: float  # its timeout
    on_piece: OnPiece | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def expire(self) -> None:
        """Cancel the call because it timed out."""
        self.stop.set()
        if not self.reply.done():
            self.reply.set_exception(TimeoutError())


class SlotScheduler:
    """Runs requests on an engine, one per slot; further requests wait in order.

    Lives on one event loop and closes the engine with itself. The engine's blocking calls run in
    daemon threads, so that a long reply does not delay the interpreter's exit.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._waiting: list[_Call] = []
        self._contents: dict[int, Sequence[Message]] = dict.fromkeys(range(engine.slots), ())
        self._idle: list[int] = list(range(engine.slots))  # least recently used first
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._saved: OrderedDict[str, int] = OrderedDict()  # name → bytes
        self._computing: set[str] = set()
        self._can_save = True
        self._fill_scheduled = False

    async def run(
        self,
        body: Mapping[str, Any],
        messages: Sequence[Message],
        on_piece: OnPiece | None = None,
        *,
        seconds: float,
    ) -> Completion:
        """Run one request as soon as a slot is free. A cancelled request soon frees its slot.

        `on_piece` is called in another thread. Raises a TimeoutError if the request takes more than
        `seconds` in its slot; other errors are those of `Engine.chat`.
        """
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Completion] = loop.create_future()
        call = _Call(
            body, messages, _prefix_name(messages, body.get("tools")), reply, seconds, on_piece
        )
        self._waiting.append(call)
        self._schedule_fill()
        try:
            return await call.reply
        finally:
            call.stop.set()
            if call in self._waiting:
                self._waiting.remove(call)

    async def aclose(self) -> None:
        """Reject waiting requests, cancel running ones and close the engine."""
        for call in self._waiting:
            if not call.reply.done():
                call.reply.set_exception(EngineStopped())
        self._waiting.clear()
        await _in_daemon_thread(self.engine.close)

    def _schedule_fill(self) -> None:
        # Once for all requests of this turn of the loop: only then is it known which of them
        # share a prefix.
        if not self._fill_scheduled:
            self._fill_scheduled = True
            asyncio.get_running_loop().call_soon(self._fill_slots)

    def _fill_slots(self) -> None:
        self._fill_scheduled = False
        for call in list(self._waiting):
            if not self._idle:
                return
            if call.prefix not in self._computing:
                self._waiting.remove(call)
                self._start(call)

    def _start(self, call: _Call) -> None:
        slot = max(self._idle, key=lambda slot: _shared(self._contents[slot], call.messages))
        self._idle.remove(slot)
        prefix = call.prefix
        restore = compute = False
        if prefix in self._saved:
            self._saved.move_to_end(prefix)
            shared = _shared(self._contents[slot], call.messages)
            restore = shared < _length(call.messages[:-1])
        elif prefix and self._can_save and self._is_shared(call):
            self._computing.add(prefix)
            compute = True
        self._remember(prefix)
        self._contents[slot] = call.messages
        timer = asyncio.get_running_loop().call_later(call.seconds, call.expire)
        job = asyncio.ensure_future(self._answer(call, slot, restore=restore, compute=compute))
        job.add_done_callback(lambda _: self._release(slot, timer))

    def _is_shared(self, call: _Call) -> bool:
        """Whether another request has had, or waits with, the same prefix."""
        return call.prefix in self._seen or any(
            other.prefix == call.prefix for other in self._waiting
        )

    def _remember(self, prefix: str) -> None:
        self._seen[prefix] = None
        self._seen.move_to_end(prefix)
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)

    async def _answer(self, call: _Call, slot: int, *, restore: bool, compute: bool) -> None:
        engine, stop, start = self.engine, call.stop, time.perf_counter()
        body = {**call.body, "id_slot": slot, "cache_prompt": True}
        try:
            if restore:
                await self._restore_prefix(call, slot)
            first = await self._compute_prefix(call, slot, body) if compute else None
            reply = await _in_daemon_thread(lambda: engine.chat(body, stop, call.on_piece))
            if first is not None:
                cached = first.usage.cached_prompt_tokens
                reply = replace(reply, usage=replace(reply.usage, cached_prompt_tokens=cached))
            if not call.reply.done():
                call.reply.set_result(replace(reply, seconds=time.perf_counter() - start))
        except Exception as error:  # noqa: BLE001 - passed on to the caller
            self._contents[slot] = ()
            if not call.reply.done():
                call.reply.set_exception(error)

    async def _restore_prefix(self, call: _Call, slot: int) -> None:
        try:
            await _in_daemon_thread(lambda: self.engine.restore(slot, call.prefix))
        except OSError:
            self._saved.pop(call.prefix, None)  # the slot computes it instead

    async def _compute_prefix(
        self, call: _Call, slot: int, body: Mapping[str, Any]
    ) -> Completion | None:
        """Compute and save the prompt first, so that others do not wait for the whole reply."""
        engine, prefix = self.engine, call.prefix
        prompt_only = {**body, "max_tokens": 0}
        try:
            reply = await _in_daemon_thread(lambda: engine.chat(prompt_only, call.stop))
            self._saved[prefix] = await _in_daemon_thread(lambda: engine.save(slot, prefix))
        except OSError:
            self._can_save = False  # not with this kind of model: each slot computes prefixes
            return None
        finally:
            self._computing.discard(prefix)
            self._schedule_fill()
        while sum(self._saved.values()) > _MAX_SAVED_BYTES and len(self._saved) > 1:
            oldest, _ = self._saved.popitem(last=False)
            engine.forget(oldest)
        return reply

    def _release(self, slot: int, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._idle.append(slot)
        self._schedule_fill()


def _prefix_name(messages: Sequence[Message], tools: Any) -> str:
    """Name the tools, and all turns but the last, which differs from call to call."""
    prefix = messages[:-1]
    described = len(canonical_json(tools)) if tools else 0  # the system turn has them
    if _length(prefix) + described < _MIN_PREFIX:
        return ""
    named: list[Any] = [message.to_json() for message in prefix]
    return digest([*named, tools] if tools else named)[:32]


def _shared(held: Sequence[Message], messages: Sequence[Message]) -> int:
    """Count the characters of the leading turns that two conversations share."""
    shared = 0
    for ours, theirs in zip(held, messages, strict=False):
        if ours != theirs:
            break
        shared += len(ours.text)
    return shared


def _length(messages: Sequence[Message]) -> int:
    return sum(len(message.text) for message in messages)


async def _in_daemon_thread(function: Callable[[], T]) -> T:
    """Run a blocking call in a new daemon thread."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # the call cannot be cancelled, only its waiter

    def work() -> None:
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised again in the waiter
            done.set_exception(error)

    threading.Thread(target=work, name="lmpipe-local", daemon=True).start()
    return await asyncio.wrap_future(done)
