"""`Runtime`: makes every LM call, through the store, coalescing and the endpoint.

Nothing else in the library opens a connection to a model.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from lmpipe.errors import LMError, LMRequestError, RefusalError
from lmpipe.lm.accounting import account, note_failed
from lmpipe.lm.concurrency import loop
from lmpipe.lm.concurrency.joined import Joined
from lmpipe.lm.history import CallHistory
from lmpipe.lm.listener import tell
from lmpipe.lm.lm import LM
from lmpipe.lm.model_knowledge import ModelKnowledge
from lmpipe.lm.observed_calls import observed_call, telling_retries
from lmpipe.lm.observing import listening
from lmpipe.lm.providers import fetch_weights, source_of
from lmpipe.lm.providers.base import OnRetry, OnText, Servers
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.traffic.deadline import before_deadline, check_deadline
from lmpipe.lm.traffic.endpoint import Endpoint
from lmpipe.lm.traffic.endpoints import Endpoints
from lmpipe.lm.traffic.in_flight import InFlight
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.state.usage import Usage

_FAILURES = (LMError, RefusalError)  # of a call, in the history


class Runtime:
    """Makes LM calls, with a store of replies, limits and retries.

    Without a store, every request is a fresh call. `max_in_flight` is per endpoint. `on_retry` is
    called with the attempt's number, the wait in seconds and the error. `servers` manages the
    servers and adapters of LMs without a URL.

    Attributes:
        history: the last calls; runtimes that are made of this one share it.
        pure_tools: the uses of pure tools that are running, whose results equal uses share.
    """

    def __init__(
        self,
        *,
        store: ReplyStore | None = None,
        max_in_flight: int = 64,
        retry: RetryPolicy | None = None,
        on_retry: OnRetry | None = None,
        servers: Servers | None = None,
    ) -> None:
        self.servers = servers
        self.max_in_flight = max_in_flight
        self.fresh_calls = 0
        self.history = CallHistory()
        self.pure_tools: Joined[Any] = Joined()
        self._retry = retry or RetryPolicy()
        self._on_retry = on_retry
        self._in_flight = InFlight()
        self._endpoints = Endpoints(
            max_in_flight=max_in_flight, retry=self._retry, on_retry=on_retry
        )
        self._store = store
        self._knowledge = ModelKnowledge(store)

    @property
    def store(self) -> ReplyStore | None:
        """Where replies are kept; None if every request is a fresh call."""
        return self._store

    @store.setter
    def store(self, store: ReplyStore | None) -> None:
        if store is not self._store:
            self._store = store
            self._knowledge = ModelKnowledge(store)  # a replay knows what its own store knows

    def complete(
        self,
        request: Request,
        *,
        label: str = "",
        on_text: OnText | None = None,
        on_retry: OnRetry | None = None,
    ) -> Reply:
        """Make one LM call from plain Python, for the predictor at the path `label`.

        `on_text` is called with the text so far while it arrives, in the loop's thread, and at the
        end; `on_retry` before this request is sent again. Raises an LMError if the LM stays
        unavailable after retries, or refuses the request.
        """
        if not listening:
            return self._complete(request, label, on_text, on_retry)
        with observed_call(request, label) as call:
            retrying = telling_retries(call, on_retry)
            reply = self._complete(request, label, on_text, retrying)
            call.ends(reply=reply)
        return reply

    def _complete(
        self, request: Request, label: str, on_text: OnText | None, on_retry: OnRetry | None
    ) -> Reply:
        loop.check_not_on_loop()
        check_deadline()
        request = self._knowledge.apply(request)
        key = request.key(source_of(request.lm))
        reply, started = self._get(key, request), time.perf_counter()
        if reply is None:
            try:
                coming = before_deadline(
                    self._fresh, key, request, on_text, on_retry, look_again=True
                )
                key, request, fresh = loop.run_sync(coming)
            except _FAILURES as error:
                note_failed(self.history, request, error, label, started)
                raise
            reply = fresh
        if on_text is not None:
            tell(on_text, reply)
        return account(self.history, key, request, reply, label, started)

    async def acomplete(
        self,
        request: Request,
        *,
        label: str = "",
        on_text: OnText | None = None,
        on_retry: OnRetry | None = None,
    ) -> Reply:
        """Make one LM call from a coroutine on any event loop; see `complete`."""
        if not listening:
            return await self._acomplete(request, label, on_text, on_retry)
        with observed_call(request, label) as call:
            retrying = telling_retries(call, on_retry)
            reply = await self._acomplete(request, label, on_text, retrying)
            call.ends(reply=reply)
        return reply

    async def _acomplete(
        self, request: Request, label: str, on_text: OnText | None, on_retry: OnRetry | None
    ) -> Reply:
        check_deadline()
        await fetch_weights(request.lm)
        request = self._knowledge.apply(request)
        key = request.key(source_of(request.lm))
        reply, started = self._get(key, request), time.perf_counter()
        if reply is None:
            on_loop = loop.on_loop()
            coming = before_deadline(
                self._fresh, key, request, on_text, on_retry, look_again=not on_loop
            )
            try:
                key, request, fresh = await (coming if on_loop else loop.bridge(coming))
            except _FAILURES as error:
                note_failed(self.history, request, error, label, started)
                raise
            reply = fresh
        if on_text is not None:
            tell(on_text, reply)
        return account(self.history, key, request, reply, label, started)

    async def acomplete_samples(
        self, requests: Sequence[Request], *, label: str = ""
    ) -> list[Reply]:
        """Make LM calls that differ only in the number of the sample; see `complete`.

        Those that are not stored are sent as one request if the server can draw several samples.
        """
        check_deadline()
        if requests:
            await fetch_weights(requests[0].lm)
        started = time.perf_counter()
        while True:
            requests = [self._knowledge.apply(request) for request in requests]
            keys = [request.key(source_of(request.lm)) for request in requests]
            wanted = dict(zip(keys, requests, strict=True))
            stored = self._stored(wanted)
            missing = {key: request for key, request in wanted.items() if key not in stored}
            if len(missing) < 2:
                break
            try:
                stored |= await loop.bridge(before_deadline(self._draw, missing))
                break
            except LMRequestError as error:
                first = next(iter(missing.values()))
                if error.guess:
                    break  # one by one, so that one request tries it
                if self._knowledge.change(first, error) is None:
                    raise

        async def answer(key: str, request: Request) -> Reply:
            if key in stored:
                with observed_call(request, label, since=started) as call:
                    call.ends(reply=stored[key])
                    return account(self.history, key, request, stored[key], label, started)
            return await self.acomplete(request, label=label)

        return list(await asyncio.gather(*map(answer, keys, requests)))

    async def aembed(self, requests: Sequence[Request], *, label: str = "") -> list[Reply]:
        """Make requests for one vector each to one LM; see `complete`.

        Those that are not stored are sent as one request. The accounts count one call. Raises a
        ConfigError if the LM cannot embed texts.
        """
        if not (listening and requests):
            return await self._aembed(requests, label)
        texts = tuple(message for request in requests for message in request.messages)
        with observed_call(Request(requests[0].lm, texts), label):
            return await self._aembed(requests, label)

    async def _aembed(self, requests: Sequence[Request], label: str) -> list[Reply]:
        check_deadline()
        started = time.perf_counter()
        wanted = {request.key(source_of(request.lm)): request for request in requests}
        found = self._stored(wanted)
        missing = {key: request for key, request in wanted.items() if key not in found}
        if missing:
            found |= await loop.bridge(before_deadline(self._embed, missing))
        together = Reply(
            "",
            usage=sum((reply.usage for reply in found.values()), Usage()),
            seconds=max((reply.seconds for reply in found.values()), default=0.0),
            cached=all(reply.cached for reply in found.values()),
            attempts=max((reply.attempts for reply in found.values()), default=1),
        )
        name = hashlib.sha256("".join(wanted).encode()).hexdigest()
        if requests:
            account(self.history, name, requests[0], together, label, started)
        return [found[request.key(source_of(request.lm))] for request in requests]

    def with_limit(self, max_in_flight: int) -> Runtime:
        """Return a runtime with another limit and the same store, retries and servers."""
        return self._copy(max_in_flight, self.servers)

    def with_store(self, store: ReplyStore | None) -> Runtime:
        """Return a runtime with another store and the same limits, retries and servers."""
        runtime = self._copy(self.max_in_flight, self.servers)
        runtime.store = store
        return runtime

    def with_servers(self, servers: Servers | None) -> Runtime:
        """Return a runtime with other servers and the same store, limits and retries."""
        return self._copy(self.max_in_flight, servers)

    def _copy(self, max_in_flight: int, servers: Servers | None) -> Runtime:
        runtime = Runtime(
            store=self.store,
            max_in_flight=max_in_flight,
            retry=self._retry,
            on_retry=self._on_retry,
            servers=servers,
        )
        runtime._knowledge = self._knowledge
        runtime.history = self.history
        runtime.pure_tools = self.pure_tools
        return runtime

    async def aclose(self) -> None:
        """Cancel requests in flight, release connections and engines, and stop servers."""
        await self._in_flight.cancel()
        await self._endpoints.aclose()
        if self.servers is not None:
            await self.servers.aclose()

    def close(self) -> None:
        """Release connections, engines and the store."""
        if self._endpoints or self._in_flight or self.servers is not None:
            loop.run_sync(self.aclose())
        if self.store is not None:
            self.store.close()

    def _get(self, key: str, request: Request) -> Reply | None:
        return self._store.get(key, request) if self._store is not None else None

    def _stored(self, requests: Mapping[str, Request]) -> dict[str, Reply]:
        return {
            key: reply
            for key, request in requests.items()
            if (reply := self._get(key, request)) is not None
        }

    async def _fresh(
        self,
        key: str,
        request: Request,
        on_text: OnText | None,
        on_retry: OnRetry | None,
        *,
        look_again: bool,
    ) -> tuple[str, Request, Reply]:
        """Call the LM; return the reply, and the request that it answers, with its key.

        That is another request than the given one if the server refused a parameter of it.
        """
        guessed: tuple[Request, LMRequestError] | None = None
        while True:
            try:
                reply = await self._fresh_once(
                    key, request, on_text, on_retry, look_again=look_again
                )
            except LMRequestError as error:
                changed = self._knowledge.change(request, error)
                if changed is None:
                    raise
                if error.guess:
                    guessed = request, error
                # A guess has to be tried: a stored reply would not tell whether it is right.
                request, look_again = changed, not error.guess
                key = request.key(source_of(request.lm))
            else:
                if guessed is not None:
                    self._knowledge.learn(*guessed)
                return key, request, reply

    async def _fresh_once(
        self,
        key: str,
        request: Request,
        on_text: OnText | None,
        on_retry: OnRetry | None,
        *,
        look_again: bool,
    ) -> Reply:
        """Call the LM, or wait for an identical request that is already in flight."""
        if (reply := await self._in_flight.join(key)) is not None:
            return reply
        # An identical request may have finished before this coroutine started on the loop.
        if look_again and (reply := self._get(key, request)) is not None:
            return reply
        reply_coming = self._endpoint(request.lm).ask(request, on_text=on_text, on_retry=on_retry)
        (reply,) = await self._send({key: request}, _as_tuple(reply_coming))
        return reply

    async def _draw(self, requests: Mapping[str, Request]) -> dict[str, Reply]:
        """Request several samples at once; return none if the server cannot draw several."""
        free = {key: item for key, item in requests.items() if key not in self._in_flight}
        first = next(iter(requests.values()))
        endpoint = self._endpoint(first.lm)
        singly = first.lm.temperature == 0 or first.lm.accepts("n") is False
        if len(free) < 2 or singly or not endpoint.draws_samples:
            return {}
        replies = await self._send(free, endpoint.samples(next(iter(free.values())), len(free)))
        return dict(zip(free, replies, strict=False))

    async def _embed(self, requests: Mapping[str, Request]) -> dict[str, Reply]:
        """Request several vectors at once, and wait for those that are already in flight."""
        free = {key: item for key, item in requests.items() if key not in self._in_flight}
        found: dict[str, Reply] = {}
        if free:
            lm = next(iter(free.values())).lm
            together = Request(lm, tuple(m for item in free.values() for m in item.messages))
            replies = await self._send(free, self._endpoint(lm).embed(together))
            found = dict(zip(free, replies, strict=True))
        for key, request in requests.items():
            if key not in found:
                found[key] = await self._fresh_once(key, request, None, None, look_again=True)
        return found

    async def _send(
        self, requests: Mapping[str, Request], coming: Awaitable[Sequence[Reply]]
    ) -> Sequence[Reply]:
        """Wait for replies, let identical requests share them, and store them."""
        replies = await self._in_flight.share(requests, coming)
        self.fresh_calls += len(replies)
        if self.store is not None:
            for (key, request), reply in zip(requests.items(), replies, strict=False):
                self.store.put(key, request, reply)
        return replies

    def _endpoint(self, lm: LM) -> Endpoint:
        return self._endpoints.of(lm, self.servers)


async def _as_tuple(reply: Awaitable[Reply]) -> tuple[Reply]:
    return (await reply,)
