"""Which request runs in which slot of an engine, so that shared prompt prefixes are computed once.

All the calls of one predictor begin with the same turns: the instruction and the demonstrations.
The first of them that has company computes this prefix and keeps it as a file; every slot can load
it from there some hundred times faster than it could compute it. So neither several predictors
that alternate nor a search over many candidates makes the slots compute a prefix again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from lmpipe.foundation.canonical_json import digest
from lmpipe.lm.embedded.engine import Completion, Engine, EngineStopped, OnPiece
from lmpipe.lm.request import Message

T = TypeVar("T")

_SHORTEST_PREFIX = 400  # characters; a shorter one is computed faster than it is looked after
_MOST_KEPT_BYTES = 512 << 20
_MOST_REMEMBERED = 4096  # prefixes that came by once


@dataclass(eq=False, slots=True)
class _Waiting:
    body: Mapping[str, Any]
    messages: Sequence[Message]
    prefix: str  # its name, or "" where it is too short to keep
    reply: asyncio.Future[Completion]
    seconds: float  # the longest that it may take
    on_piece: OnPiece | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def expire(self) -> None:
        """Give up after the timeout."""
        self.stop.set()
        if not self.reply.done():
            self.reply.set_exception(TimeoutError())


class Slots:
    """Runs requests on an engine: as many at once as it has slots, the others wait in line.

    Lives on one event loop; the engine's blocking calls run in daemon threads, so that no exit of
    the interpreter waits for a long reply.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._waiting: list[_Waiting] = []
        self._held: dict[int, Sequence[Message]] = dict.fromkeys(range(engine.slots), ())
        self._idle: list[int] = list(range(engine.slots))  # the longest idle first
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._kept: OrderedDict[str, int] = OrderedDict()  # name → bytes
        self._computing: set[str] = set()
        self._can_keep = True
        self._woken = False

    async def run(
        self,
        body: Mapping[str, Any],
        messages: Sequence[Message],
        on_piece: OnPiece | None = None,
        *,
        seconds: float,
    ) -> Completion:
        """Run one request when a slot is free; a cancelled one gives its slot back soon.

        Args:
            body: the request, as JSON.
            messages: its turns.
            on_piece: told each piece of text as it comes, in some thread.
            seconds: the longest that it may take once it has a slot.

        Raises:
            TimeoutError: if it takes longer.
            EngineError: if the engine refuses it.
            EngineStopped: if the engine is closed.
        """
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Completion] = loop.create_future()
        waiting = _Waiting(body, messages, _prefix_name(messages), reply, seconds, on_piece)
        self._waiting.append(waiting)
        self._wake()
        try:
            return await waiting.reply
        finally:
            waiting.stop.set()
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def aclose(self) -> None:
        """Refuse what waits, give up what runs, free the engine."""
        for waiting in self._waiting:
            if not waiting.reply.done():
                waiting.reply.set_exception(EngineStopped())
        self._waiting.clear()
        await _in_daemon_thread(self.engine.close)

    def _wake(self) -> None:
        # Once for all the requests that arrive in this turn of the loop: who shares a prefix
        # shows only when all are there.
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._fill)

    def _fill(self) -> None:
        self._woken = False
        for waiting in list(self._waiting):
            if not self._idle:
                return
            if waiting.prefix not in self._computing:
                self._waiting.remove(waiting)
                self._start(waiting)

    def _start(self, waiting: _Waiting) -> None:
        slot = max(self._idle, key=lambda slot: _shared(self._held[slot], waiting.messages))
        self._idle.remove(slot)
        prefix = waiting.prefix
        restore = compute = False
        if prefix in self._kept:
            self._kept.move_to_end(prefix)
            shared = _shared(self._held[slot], waiting.messages)
            restore = shared < _length(waiting.messages[:-1])
        elif prefix and self._can_keep and self._has_company(waiting):
            self._computing.add(prefix)
            compute = True
        self._remember(prefix)
        self._held[slot] = waiting.messages
        timer = asyncio.get_running_loop().call_later(waiting.seconds, waiting.expire)
        job = asyncio.ensure_future(self._job(waiting, slot, restore=restore, compute=compute))
        job.add_done_callback(lambda _: self._release(slot, timer))

    def _has_company(self, waiting: _Waiting) -> bool:
        return waiting.prefix in self._seen or any(
            other.prefix == waiting.prefix for other in self._waiting
        )

    def _remember(self, prefix: str) -> None:
        self._seen[prefix] = None
        self._seen.move_to_end(prefix)
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)

    async def _job(self, waiting: _Waiting, slot: int, *, restore: bool, compute: bool) -> None:
        engine, stop = self.engine, waiting.stop
        body = {**waiting.body, "id_slot": slot, "cache_prompt": True}
        try:
            if restore:
                await self._restore(waiting, slot)
            first = await self._compute(waiting, slot, body) if compute else None
            reply = await _in_daemon_thread(lambda: engine.chat(body, stop, waiting.on_piece))
            if first is not None:
                cached = first.usage.cached_prompt_tokens
                reply = replace(reply, usage=replace(reply.usage, cached_prompt_tokens=cached))
            if not waiting.reply.done():
                waiting.reply.set_result(reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            self._held[slot] = ()
            if not waiting.reply.done():
                waiting.reply.set_exception(error)

    async def _restore(self, waiting: _Waiting, slot: int) -> None:
        try:
            await _in_daemon_thread(lambda: self.engine.restore(slot, waiting.prefix))
        except OSError:
            self._kept.pop(waiting.prefix, None)  # the slot computes it afresh

    async def _compute(
        self, waiting: _Waiting, slot: int, body: Mapping[str, Any]
    ) -> Completion | None:
        """Compute the prompt alone and keep it, so that others need not wait for the reply."""
        engine, prefix = self.engine, waiting.prefix
        prompt_only = {**body, "max_tokens": 0}
        try:
            reply = await _in_daemon_thread(lambda: engine.chat(prompt_only, waiting.stop))
            self._kept[prefix] = await _in_daemon_thread(lambda: engine.save(slot, prefix))
        except OSError:
            self._can_keep = False  # some kinds of weights cannot: then each slot computes its own
            return None
        finally:
            self._computing.discard(prefix)
            self._wake()
        while sum(self._kept.values()) > _MOST_KEPT_BYTES and len(self._kept) > 1:
            oldest, _ = self._kept.popitem(last=False)
            engine.forget(oldest)
        return reply

    def _release(self, slot: int, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self._idle.append(slot)
        self._wake()


def _prefix_name(messages: Sequence[Message]) -> str:
    """A name for all turns but the last, which is the one that differs from call to call."""
    prefix = messages[:-1]
    if _length(prefix) < _SHORTEST_PREFIX:
        return ""
    return digest([message.to_json() for message in prefix])[:32]


def _shared(held: Sequence[Message], messages: Sequence[Message]) -> int:
    """The characters of the leading turns that two conversations have in common."""
    shared = 0
    for ours, theirs in zip(held, messages, strict=False):
        if ours != theirs:
            break
        shared += len(ours.content)
    return shared


def _length(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)


async def _in_daemon_thread(function: Callable[[], T]) -> T:
    """Run a blocking call in a daemon thread of its own."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", value))

    def work() -> None:
        value, failure = None, None
        try:
            value = function()
        except BaseException as error:  # noqa: BLE001 - handed to the loop
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(deliver, value, failure)

    threading.Thread(target=work, name="lmpipe-local", daemon=True).start()
    return await future
