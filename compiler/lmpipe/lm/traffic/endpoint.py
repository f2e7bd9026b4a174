"""`Endpoint`: where one LM is asked, with its limits, replicas and retries."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from lmpipe.errors import ConfigError, LMError, LMUnavailableError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers import Provider, open_provider
from lmpipe.lm.providers.base import (
    EmbeddingProvider,
    OnText,
    SamplingProvider,
    StreamingProvider,
)
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.traffic.replicas import Lease, Replica, Replicas
from lmpipe.lm.traffic.retry import RetryPolicy, ask_again
from lmpipe.lm.traffic.throttle import Throttle, TokenMeter
from lmpipe.lm.usage import Usage

T = TypeVar("T", Reply, list[Reply])

_OVERLOADED = (429, 503, 529)  # the statuses of a server that wants less, not of one that fails


class Endpoint:
    """A server, or several replicas of one, that answer for one LM. Lives on one event loop.

    Requests are sent in the order in which they came, as soon as a replica may be asked. One that
    fails goes to the next replica at once; when all have failed it, it waits and starts anew.

    Args:
        lm: the LM; others that differ in their decoding settings alone are asked here too.
        max_in_flight: requests in flight at a time at each replica, where the LM sets no limit of
            its own.
        retry: how often and how patiently an unavailable server is asked again.
        on_retry: called with the attempt's number, the wait in seconds and the error before each
            wait; and with a wait of 0 when a replica is found to be away and others take over.
        open_provider: makes the provider for one address of the LM.
    """

    def __init__(
        self,
        lm: LM,
        *,
        max_in_flight: int,
        retry: RetryPolicy,
        on_retry: Callable[[int, float, LMError], None] | None = None,
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
        self._line: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self, request: Request, *, on_text: OnText | None = None) -> Coroutine[Any, Any, Reply]:
        """Ask until there is a reply.

        Args:
            request: what to ask.
            on_text: told all the text that has come so far, where the provider can tell; it
                starts from nothing where the request is sent again.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        send = _complete if on_text is None else partial(_stream, on_text=on_text)
        return self._ask(_Call(request, _embed_one if request.embeds else send, 1))

    def embed(self, request: Request) -> Coroutine[Any, Any, list[Reply]]:
        """Ask for the vectors of several texts at once: a reply for each turn of the request.

        Raises:
            ConfigError: if its provider gives none.
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        return self._ask(_Call(request, _embed, 1))

    def samples(self, request: Request, n: int) -> Coroutine[Any, Any, list[Reply]]:
        """Ask for several samples in one request; see `draws_samples`."""
        return self._ask(_Call(request, partial(_samples, n=n), n))

    @property
    def draws_samples(self) -> bool:
        """Whether `samples` can be asked here."""
        return all(isinstance(one.provider, SamplingProvider) for one in self._replicas.all)

    async def aclose(self) -> None:
        """Release connections and engines."""
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._line:
            waiting.place.cancel()
        await asyncio.gather(*(replica.provider.aclose() for replica in self._replicas.all))

    async def _ask(self, call: _Call[T]) -> T:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._start_on(loop)
        try:
            return await self._round(call, 1)
        except LMUnavailableError as error:
            first = error
        return await ask_again(
            partial(self._round, call),
            first,
            policy=self._retry,
            rng=self._rng,
            started=call.started,
            clock=loop.time,
            on_retry=self._on_retry,
        )

    def _start_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what is in flight on another loop: in a forked child none of it ever ends."""
        self._loop, self._timer = loop, None
        self._line.clear()
        for replica in self._replicas.all:
            replica.probes = replica.throttle.in_flight = 0

    async def _round(self, call: _Call[T], attempt: int) -> T:
        """Ask one replica after the other, each once at most."""
        tokens = self._meter.estimate(call.request, call.samples) if self._meter else 0.0
        tried: list[Replica] = []
        error: LMUnavailableError | None = None
        while True:
            now = self._now()
            place = self._enter(call.request, tokens, tried, now)
            if isinstance(place, _Waiting):
                place = await self._turn(place)
                now = self._now()
            if place is None:
                assert error is not None
                raise error
            try:
                reply = await call.send(place.replica.provider, call.request)
            except LMUnavailableError as failure:
                error = failure
                call.started = call.started or now
                tried.append(place.replica)
                self._blame(place, failure, attempt)
            except LMError:
                place.answered()  # a refusal is an answer
                raise
            else:
                place.answered()
                if self._meter is not None:
                    self._learn(place, call, reply)
                return reply
            finally:
                place.leave()
                if self._line:
                    self._serve()

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _enter(
        self, request: Request, tokens: float, tried: list[Replica], now: float
    ) -> Lease | _Waiting | None:
        """A place at a replica or in line; None if every replica that may answer was tried."""
        if not self._line or tried:  # who failed elsewhere has stood in line before
            chosen = self._replicas.choose(request, tokens, tried, now)
            if isinstance(chosen, Replica):
                return chosen.take(tokens, now)
            if chosen is None:
                return None
        waiting = _Waiting(request, tokens, tried, asyncio.get_running_loop().create_future())
        if tried:
            self._line.appendleft(waiting)
        else:
            self._line.append(waiting)
        self._serve()
        return waiting

    async def _turn(self, waiting: _Waiting) -> Lease | None:
        """Stand in line; whoever gives up gives back what it was given meanwhile."""
        try:
            return await waiting.place
        except asyncio.CancelledError:
            if waiting.place.done() and not waiting.place.cancelled():
                if (place := waiting.place.result()) is not None:
                    place.unused(self._now())
                    place.leave()
                self._serve()
            raise

    def _serve(self) -> None:
        """Give places to those in line, first come first served, as far as there is room."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, soonest = self._now(), inf
        passed: list[_Waiting] = []
        while self._line:
            waiting = self._line.popleft()
            if waiting.place.done():  # it gave up
                continue
            chosen = self._replicas.choose(waiting.request, waiting.tokens, waiting.tried, now)
            if isinstance(chosen, Replica):
                waiting.place.set_result(chosen.take(waiting.tokens, now))
            elif chosen is None:
                waiting.place.set_result(None)
            else:
                passed.append(waiting)
                soonest = min(soonest, chosen)
                if not waiting.tried:  # it may go anywhere: there is no room for others either
                    break
        self._line.extendleft(reversed(passed))
        if soonest < inf:
            self._timer = asyncio.get_running_loop().call_later(soonest, self._serve)

    def _learn(self, place: Lease, call: _Call[Any], reply: Reply | list[Reply]) -> None:
        """Take the tokens that a reply took into account, where the server says so."""
        replies = [reply] if isinstance(reply, Reply) else reply
        usage = sum((one.usage for one in replies), Usage())
        if self._meter is not None and usage.tokens:
            self._meter.learn(call.request, usage, call.samples)
            place.took(usage.tokens, self._now())

    def _blame(self, place: Lease, error: LMUnavailableError, attempt: int) -> None:
        """Note what a failure says of a replica."""
        now = self._now()
        if error.status in _OVERLOADED:
            place.overloaded(error.retry_after, now)
        elif error.status is not None:
            place.broken(now)
        elif place.lost(now) and len(self._replicas.all) > 1 and self._on_retry is not None:
            self._on_retry(attempt, 0.0, error)


@dataclass(eq=False, slots=True)
class _Call(Generic[T]):
    request: Request
    send: Callable[[Provider, Request], Awaitable[T]]
    samples: int
    started: float = 0.0  # when it first was sent, if in vain


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request in line."""

    request: Request
    tokens: float
    tried: list[Replica]
    place: asyncio.Future[Lease | None]


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
            f"LM({request.lm.model!r}) gives no embeddings: name an embedding model of a server or "
            'a hosted one, such as "vllm/<model>" with its base_url or '
            '"openai/text-embedding-3-small"'
        )
    return await provider.embed(request)


async def _embed_one(provider: Provider, request: Request) -> Reply:
    (reply,) = await _embed(provider, request)
    return reply


async def _samples(provider: Provider, request: Request, *, n: int) -> list[Reply]:
    assert isinstance(provider, SamplingProvider)
    return await provider.samples(request, n)
