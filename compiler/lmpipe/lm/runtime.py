"""The one road to the LM: cache, coalescing, endpoint.

Every LM call of a program, a teacher, a proposer or a judge goes through `Runtime.complete` or
`Runtime.acomplete`; nothing else in the library opens a connection to a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from lmpipe.errors import LMError
from lmpipe.lm import loop
from lmpipe.lm.endpoint import Endpoint
from lmpipe.lm.lm import LM
from lmpipe.lm.prices import Price, price_of
from lmpipe.lm.providers import weights_of
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.retry import RetryPolicy
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.trace import current_scope


class ReplyStore(Protocol):
    """Where replies are kept: a cache or a cassette. Safe to call from any thread."""

    def get(self, key: str, request: Request) -> Reply | None: ...

    def put(self, key: str, request: Request, reply: Reply) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """One logical LM call, cached or not, for the accounts.

    Args:
        key: its cache key.
        label: the path of the predictor that made it.
        role: `task`, `teacher`, `proposer` or `judge`.
        lm: the model's name.
        price: what its tokens cost, or None where that is unknown.
        reply: the answer.
    """

    key: str
    label: str
    role: str
    lm: str
    price: Price | None
    reply: Reply

    @property
    def usd(self) -> float | None:
        """US dollars for its tokens, whether it reached the LM or not; None if unknown."""
        return None if self.price is None else self.price.cost(self.reply.usage)


class Runtime:
    """The road to the LM, with its store and its limits.

    Args:
        store: the cache or cassette; None asks the LM every time.
        max_in_flight: requests in flight to one endpoint at a time.
        retry: how often and how patiently an unavailable server is asked again.
        on_retry: called with the attempt's number, the wait in seconds and the error.
    """

    def __init__(
        self,
        *,
        store: ReplyStore | None = None,
        max_in_flight: int = 64,
        retry: RetryPolicy | None = None,
        on_retry: Callable[[int, float, LMError], None] | None = None,
    ) -> None:
        self.store = store
        self.max_in_flight = max_in_flight
        self.fresh_calls = 0
        self._retry = retry or RetryPolicy()
        self._on_retry = on_retry
        self._in_flight: dict[str, asyncio.Task[Reply]] = {}
        self._endpoints: dict[Hashable, Endpoint] = {}

    def complete(self, request: Request, *, label: str = "") -> Reply:
        """Answer a request from plain Python.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        loop.check_not_on_loop()
        key = request.key(weights_of(request.lm))
        reply = self.store.get(key, request) if self.store is not None else None
        if reply is None:
            reply = loop.run_sync(self._fresh(key, request))
        return self._account(key, request, reply, label)

    async def acomplete(self, request: Request, *, label: str = "") -> Reply:
        """Answer a request from a coroutine on any event loop.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        key = request.key(weights_of(request.lm))
        reply = self.store.get(key, request) if self.store is not None else None
        if reply is None:
            reply = await loop.bridge(self._fresh(key, request))
        return self._account(key, request, reply, label)

    def with_limit(self, max_in_flight: int) -> Runtime:
        """Another runtime with the same store, patience and watcher."""
        return Runtime(
            store=self.store,
            max_in_flight=max_in_flight,
            retry=self._retry,
            on_retry=self._on_retry,
        )

    async def aclose(self) -> None:
        """Give up what is in flight, and release connections and engines."""
        asking = list(self._in_flight.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        endpoints, self._endpoints = list(self._endpoints.values()), {}
        await asyncio.gather(*(endpoint.aclose() for endpoint in endpoints))

    def close(self) -> None:
        """Release connections, engines and the store."""
        if self._endpoints or self._in_flight:
            loop.run_sync(self.aclose())
        if self.store is not None:
            self.store.close()

    async def _fresh(self, key: str, request: Request) -> Reply:
        """Ask the LM, or join an identical request that is in flight already."""
        task = self._in_flight.get(key)
        joined = task is not None
        if task is None:
            task = asyncio.ensure_future(self._ask(key, request))
            self._in_flight[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        # A caller that gives up must not take the reply away from the others.
        reply = await asyncio.shield(task)
        return reply.as_cached() if joined else reply

    def _landed(self, key: str, task: asyncio.Task[Reply]) -> None:
        self._in_flight.pop(key, None)
        if not task.cancelled():
            task.exception()  # all who waited may have given up; nobody is to be told then

    async def _ask(self, key: str, request: Request) -> Reply:
        # An identical call may have landed since the caller looked.
        if self.store is not None and (reply := self.store.get(key, request)) is not None:
            return reply
        reply = await self._endpoint(request.lm).ask(request)
        self.fresh_calls += 1
        if self.store is not None:
            self.store.put(key, request, reply)
        return reply

    def _endpoint(self, lm: LM) -> Endpoint:
        # Scripted LMs of one name are different scripts; copies with other settings are the same.
        model = f"{lm.model}#{id(lm.requests)}" if isinstance(lm, ScriptedLM) else lm.provider
        key = (model, lm.base_url, lm.replicas, lm.api_key, tuple(lm.headers.items()), lm.limits)
        if key not in self._endpoints:
            self._endpoints[key] = Endpoint(
                lm, max_in_flight=self.max_in_flight, retry=self._retry, on_retry=self._on_retry
            )
        return self._endpoints[key]

    def _account(self, key: str, request: Request, reply: Reply, label: str) -> Reply:
        scope = current_scope()
        if scope.calls is not None:
            lm = request.lm
            scope.calls.append(Call(key, label, scope.role, lm.model, price_of(lm), reply))
        return reply
