"""`Endpoint`: the way to one LM, with its limits, replicas and retries."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from lmpipe.errors import ConfigError, LMError, LMUnavailableError, RefusalError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers import Provider, open_provider
from lmpipe.lm.providers.base import (
    EmbeddingProvider,
    OnRetry,
    OnText,
    SamplingProvider,
    StreamingProvider,
)
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.traffic.replicas import Lease, Replica, Replicas
from lmpipe.lm.traffic.retry import RetryPolicy, with_retries
from lmpipe.lm.traffic.throttle import Throttle, TokenMeter
from lmpipe.state.usage import Usage

T = TypeVar("T", Reply, list[Reply])

_OVERLOADED = (429, 503, 529)  # statuses of a server that is overloaded, not broken


class Endpoint:
    """The server of one LM, or several replicas of it. Runs on one event loop.

    Requests are sent in the order of their arrival, as soon as a replica has room. A request that
    fails goes to the next replica at once; when all replicas have failed it, it is retried after a
    wait. LMs that differ only in their decoding settings share the endpoint.

    `max_in_flight` applies to each replica if the LM sets no limit. `on_retry` is called before
    each wait with the attempt's number, the wait in seconds and the error; with a wait of 0 if a
    replica is found to be away and others take over.
    """

    def __init__(
        self,
        lm: LM,
        *,
        max_in_flight: int,
        retry: RetryPolicy,
        on_retry: OnRetry | None = None,
        open_provider: Callable[[LM, str | None], Provider] = open_provider,
    ) -> None:
        self._replicas = Replicas(
            [
                Replica(
                    address or "", open_provider(lm, address), Throttle(lm.limits, max_in_flight)
                )
                for address in (lm.base_url, *lm.replicas)
            ]
        )
        self._meter = TokenMeter() if lm.limits.tpm is not None else None
        self._retry = retry
        self._on_retry = on_retry
        self._rng = random.Random()
        self._queue: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(
        self, request: Request, *, on_text: OnText | None = None, on_retry: OnRetry | None = None
    ) -> Coroutine[Any, Any, Reply]:
        """Send a request, with retries; raise an LMError if they fail or the LM refuses it.

        If the provider streams, `on_text` is called with all the text so far as it arrives; after a
        retry the text starts again. `on_retry` is called like the endpoint's own, for this request.
        """
        send = _complete if on_text is None else partial(_stream, on_text=on_text)
        return self._ask(_Call(request, _embed_one if request.embeds else send, 1, on_retry))

    def embed(self, request: Request) -> Coroutine[Any, Any, list[Reply]]:
        """Embed several texts in one request: one reply per message; raises like `ask`."""
        return self._ask(_Call(request, _embed, 1))

    def samples(self, request: Request, n: int) -> Coroutine[Any, Any, list[Reply]]:
        """Draw several samples in one request; see `draws_samples`."""
        return self._ask(_Call(request, partial(_samples, n=n), n))

    @property
    def draws_samples(self) -> bool:
        """Whether the provider supports `samples`."""
        return all(isinstance(one.provider, SamplingProvider) for one in self._replicas.all)

    async def aclose(self) -> None:
        """Release connections and engines."""
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._queue:
            waiting.lease.cancel()
        await asyncio.gather(*(replica.provider.aclose() for replica in self._replicas.all))

    async def _ask(self, call: _Call[T]) -> T:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._start_on(loop)
        try:
            return await self._round(call, 1)
        except LMUnavailableError as error:
            first = error
        return await with_retries(
            partial(self._round, call),
            first,
            policy=self._retry,
            rng=self._rng,
            started=call.started,
            clock=loop.time,
            on_retry=partial(self._tell_retry, call.on_retry),
        )

    def _tell_retry(
        self, on_retry: OnRetry | None, attempt: int, wait: float, error: LMError
    ) -> None:
        for tell in (self._on_retry, on_retry):
            if tell is not None:
                tell(attempt, wait, error)

    def _start_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget requests in flight on another loop: in a forked child they never end."""
        self._loop, self._timer = loop, None
        self._queue.clear()
        for replica in self._replicas.all:
            replica.probes = replica.throttle.in_flight = 0

    async def _round(self, call: _Call[T], attempt: int) -> T:
        """Try one replica after the other, each at most once."""
        tokens = self._meter.estimate(call.request, call.samples) if self._meter else 0.0
        tried: list[Replica] = []
        error: LMUnavailableError | None = None
        while True:
            now = self._now()
            lease = self._enter(call.request, tokens, tried, now)
            if isinstance(lease, _Waiting):
                lease = await self._turn(lease)
                now = self._now()
            if lease is None:
                assert error is not None
                raise error
            try:
                reply = await call.send(lease.replica.provider, call.request)
            except LMUnavailableError as failure:
                error = failure
                call.started = call.started or now
                call.unanswered += failure.sent
                tried.append(lease.replica)
                self._note_failure(call, lease, failure, attempt)
            except (LMError, RefusalError):
                lease.answered()  # a refusal is an answer
                raise
            else:
                lease.answered()
                if self._meter is not None:
                    self._learn(lease, call, reply)
                return _count_attempts(reply, call.unanswered) if call.unanswered else reply
            finally:
                lease.end()
                if self._queue:
                    self._serve()

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _enter(
        self, request: Request, tokens: float, tried: list[Replica], now: float
    ) -> Lease | _Waiting | None:
        """A lease or a place in the queue; None if all replicas that may answer were tried."""
        if not self._queue or tried:  # a request that failed elsewhere was in the queue
            chosen = self._replicas.choose(request, tokens, tried, now)
            if isinstance(chosen, Replica):
                return chosen.take(tokens, now)
            if chosen is None:
                return None
        waiting = _Waiting(request, tokens, tried, asyncio.get_running_loop().create_future())
        if tried:
            self._queue.appendleft(waiting)
        else:
            self._queue.append(waiting)
        self._serve()
        return waiting

    async def _turn(self, waiting: _Waiting) -> Lease | None:
        """Wait in the queue. If the caller is cancelled, a lease that it got is ended."""
        try:
            return await waiting.lease
        except asyncio.CancelledError:
            if waiting.lease.done() and not waiting.lease.cancelled():
                if (lease := waiting.lease.result()) is not None:
                    lease.unused(self._now())
                    lease.end()
                self._serve()
            raise

    def _serve(self) -> None:
        """Give leases to the queue, first come first served, as far as there is room."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, soonest = self._now(), inf
        passed: list[_Waiting] = []
        while self._queue:
            waiting = self._queue.popleft()
            if waiting.lease.done():  # its caller was cancelled
                continue
            chosen = self._replicas.choose(waiting.request, waiting.tokens, waiting.tried, now)
            if isinstance(chosen, Replica):
                waiting.lease.set_result(chosen.take(waiting.tokens, now))
            elif chosen is None:
                waiting.lease.set_result(None)
            else:
                passed.append(waiting)
                soonest = min(soonest, chosen)
                if not waiting.tried:  # it may go to any replica, so all are full
                    break
        self._queue.extendleft(reversed(passed))
        if soonest < inf:
            self._timer = asyncio.get_running_loop().call_later(soonest, self._serve)

    def _learn(self, lease: Lease, call: _Call[Any], reply: Reply | list[Reply]) -> None:
        """Count the tokens of a reply, if the server reports them."""
        replies = [reply] if isinstance(reply, Reply) else reply
        usage = sum((one.usage for one in replies), Usage())
        if self._meter is not None and usage.tokens:
            self._meter.learn(call.request, usage, call.samples)
            lease.took(usage.tokens, self._now())

    def _note_failure(
        self, call: _Call[Any], lease: Lease, error: LMUnavailableError, attempt: int
    ) -> None:
        """Note what a failure says about the replica."""
        now = self._now()
        if error.status in _OVERLOADED:
            lease.overloaded(error.retry_after, now)
        elif error.status is not None:
            lease.broken(now)
        elif lease.lost(now) and len(self._replicas.all) > 1:
            self._tell_retry(call.on_retry, attempt, 0.0, error)


@dataclass(eq=False, slots=True)
class _Call(Generic[T]):
    request: Request
    send: Callable[[Provider, Request], Awaitable[T]]
    samples: int
    on_retry: OnRetry | None = None
    started: float = 0.0  # the time of the first attempt, if it failed
    unanswered: int = 0  # attempts that the server may have worked on, though no answer came


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request in the queue."""

    request: Request
    tokens: float
    tried: list[Replica]
    lease: asyncio.Future[Lease | None]


def _count_attempts(reply: T, unanswered: int) -> T:
    """Note in a reply, or the first of several, how often its request was sent."""
    if isinstance(reply, Reply):
        return replace(reply, attempts=reply.attempts + unanswered)
    first, *others = reply
    return [replace(first, attempts=first.attempts + unanswered), *others]


def _complete(provider: Provider, request: Request) -> Awaitable[Reply]:
    return provider.complete(request)


async def _stream(provider: Provider, request: Request, *, on_text: OnText) -> Reply:
    if isinstance(provider, StreamingProvider):
        return await provider.stream(request, on_text)
    reply = await provider.complete(request)
    on_text(reply.text)
    return reply


async def _embed(provider: Provider, request: Request) -> list[Reply]:
    if not isinstance(provider, EmbeddingProvider):
        raise ConfigError(
            f"LM({request.lm.model!r}) does not support embeddings: name an embedding model on a "
            'server or a hosted one, such as "vllm/<model>" with its base_url or '
            '"openai/text-embedding-3-small"'
        )
    return await provider.embed(request)


async def _embed_one(provider: Provider, request: Request) -> Reply:
    (reply,) = await _embed(provider, request)
    return reply


async def _samples(provider: Provider, request: Request, *, n: int) -> list[Reply]:
    assert isinstance(provider, SamplingProvider)
    return await provider.samples(request, n)
