"""The one road to the LM: cache, coalescing, endpoint.

Every LM call of a program, a teacher, a proposer or a judge goes through `Runtime.complete` or
`Runtime.acomplete`; nothing else in the library opens a connection to a model.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence

from lmpipe.errors import LMError
from lmpipe.lm.call import Call
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM
from lmpipe.lm.price_list import price_of
from lmpipe.lm.providers import Provider, open_provider, weights_of
from lmpipe.lm.providers.base import OnText, Servers, is_served
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import current_scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.deadline import before_deadline, check_deadline
from lmpipe.lm.traffic.endpoint import Endpoint
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.lm.usage import Usage


class Runtime:
    """The road to the LM, with its store and its limits.

    Args:
        store: the cache or cassette; None asks the LM every time.
        max_in_flight: requests in flight to one endpoint at a time.
        retry: how often and how patiently an unavailable server is asked again.
        on_retry: called with the attempt's number, the wait in seconds and the error.
        servers: who looks after the servers of LMs that have no address, and their adapters.
    """

    def __init__(
        self,
        *,
        store: ReplyStore | None = None,
        max_in_flight: int = 64,
        retry: RetryPolicy | None = None,
        on_retry: Callable[[int, float, LMError], None] | None = None,
        servers: Servers | None = None,
    ) -> None:
        self.store = store
        self.servers = servers
        self.max_in_flight = max_in_flight
        self.fresh_calls = 0
        self._retry = retry or RetryPolicy()
        self._on_retry = on_retry
        self._in_flight: dict[str, asyncio.Future[Reply | None]] = {}
        self._asking: set[asyncio.Task[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._endpoints: dict[Hashable, Endpoint] = {}

    def complete(
        self, request: Request, *, label: str = "", on_text: OnText | None = None
    ) -> Reply:
        """Answer a request from plain Python.

        Args:
            request: what to ask.
            label: the path of the predictor that asks, for the accounts.
            on_text: told the text as it comes, on the loop's thread; all at once if it is cached.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        loop.check_not_on_loop()
        check_deadline()
        key = request.key(weights_of(request.lm))
        reply = self.store.get(key, request) if self.store is not None else None
        if reply is None:
            reply = loop.run_sync(
                before_deadline(self._fresh, key, request, on_text, look_again=True)
            )
        if on_text is not None:
            on_text(reply.text)
        return self._account(key, request, reply, label)

    async def acomplete(
        self, request: Request, *, label: str = "", on_text: OnText | None = None
    ) -> Reply:
        """Answer a request from a coroutine on any event loop; see `complete`.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        check_deadline()
        key = request.key(weights_of(request.lm))
        reply = self.store.get(key, request) if self.store is not None else None
        if reply is None:
            near = loop.on_loop()
            asked = before_deadline(self._fresh, key, request, on_text, look_again=not near)
            reply = await (asked if near else loop.bridge(asked))
        if on_text is not None:
            on_text(reply.text)
        return self._account(key, request, reply, label)

    async def acomplete_samples(
        self, requests: Sequence[Request], *, label: str = ""
    ) -> list[Reply]:
        """Answer requests that differ by the number of their sample alone.

        Those that are not stored go out as one request where the server can draw several.

        Raises:
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        check_deadline()
        keys = [request.key(weights_of(request.lm)) for request in requests]
        stored = {
            key: reply
            for key, request in zip(keys, requests, strict=True)
            if self.store is not None and (reply := self.store.get(key, request)) is not None
        }
        missing = {k: r for k, r in zip(keys, requests, strict=True) if k not in stored}
        if len(missing) > 1:
            stored |= await loop.bridge(before_deadline(self._draw, missing))

        async def answer(key: str, request: Request) -> Reply:
            if key in stored:
                return self._account(key, request, stored[key], label)
            return await self.acomplete(request, label=label)

        return list(await asyncio.gather(*map(answer, keys, requests)))

    async def aembed(self, requests: Sequence[Request], *, label: str = "") -> list[Reply]:
        """Answer requests for one vector each, of one LM; those not stored go out as one request.

        In the accounts they are one call.

        Raises:
            ConfigError: if the LM gives no embeddings.
            LMError: if the LM cannot be reached after retries, or refuses.
        """
        check_deadline()
        wanted = {request.key(weights_of(request.lm)): request for request in requests}
        found = {
            key: reply
            for key, request in wanted.items()
            if self.store is not None and (reply := self.store.get(key, request)) is not None
        }
        missing = {key: request for key, request in wanted.items() if key not in found}
        if missing:
            found |= await loop.bridge(before_deadline(self._embed, missing))
        together = Reply(
            "",
            usage=sum((reply.usage for reply in found.values()), Usage()),
            seconds=max((reply.seconds for reply in found.values()), default=0.0),
            cached=all(reply.cached for reply in found.values()),
        )
        name = hashlib.sha256("".join(wanted).encode()).hexdigest()
        if requests:
            self._account(name, requests[0], together, label)
        return [found[request.key(weights_of(request.lm))] for request in requests]

    def with_limit(self, max_in_flight: int) -> Runtime:
        """Another runtime with the same store, patience, watcher and servers."""
        return self._like(max_in_flight, self.servers)

    def with_servers(self, servers: Servers | None) -> Runtime:
        """Another runtime with the same store, limits, patience and watcher."""
        return self._like(self.max_in_flight, servers)

    def _like(self, max_in_flight: int, servers: Servers | None) -> Runtime:
        return Runtime(
            store=self.store,
            max_in_flight=max_in_flight,
            retry=self._retry,
            on_retry=self._on_retry,
            servers=servers,
        )

    async def aclose(self) -> None:
        """Cancel what is in flight, release connections and engines, and stop servers."""
        asking = list(self._asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        endpoints, self._endpoints = list(self._endpoints.values()), {}
        await asyncio.gather(*(endpoint.aclose() for endpoint in endpoints))
        if self.servers is not None:
            await self.servers.aclose()

    def close(self) -> None:
        """Release connections, engines and the store."""
        if self._endpoints or self._in_flight or self.servers is not None:
            loop.run_sync(self.aclose())
        if self.store is not None:
            self.store.close()

    async def _fresh(
        self, key: str, request: Request, on_text: OnText | None, *, look_again: bool
    ) -> Reply:
        """Ask the LM, or join an identical request that is in flight already."""
        running = asyncio.get_running_loop()
        if running is not self._loop:
            # In a forked child, nothing that the parent has in flight ever lands.
            self._loop = running
            self._in_flight.clear()
            self._asking.clear()
        while (flight := self._in_flight.get(key)) is not None:
            # A caller that gives up must not take the reply away from the others.
            reply = await asyncio.shield(flight)
            if reply is not None:
                return reply.as_cached()
        # An identical call may have landed while the caller was on its way to the loop.
        if look_again and self.store is not None and (reply := self.store.get(key, request)):
            return reply
        asked = self._endpoint(request.lm).ask(request, on_text=on_text)
        (reply,) = await self._fly({key: request}, _alone(asked))
        return reply

    async def _draw(self, requests: Mapping[str, Request]) -> dict[str, Reply]:
        """Ask for several samples at once; gives none where the server cannot."""
        free = {key: item for key, item in requests.items() if key not in self._in_flight}
        first = next(iter(requests.values()))
        endpoint = self._endpoint(first.lm)
        if len(free) < 2 or first.lm.temperature == 0 or not endpoint.draws_samples:
            return {}
        replies = await self._fly(free, endpoint.samples(next(iter(free.values())), len(free)))
        return dict(zip(free, replies, strict=False))

    async def _embed(self, requests: Mapping[str, Request]) -> dict[str, Reply]:
        """Ask for several vectors at once; those that are in flight already are joined."""
        free = {key: item for key, item in requests.items() if key not in self._in_flight}
        found: dict[str, Reply] = {}
        if free:
            lm = next(iter(free.values())).lm
            together = Request(lm, tuple(m for item in free.values() for m in item.messages))
            replies = await self._fly(free, self._endpoint(lm).embed(together))
            found = dict(zip(free, replies, strict=True))
        for key, request in requests.items():
            if key not in found:
                found[key] = await self._fresh(key, request, None, look_again=True)
        return found

    async def _fly(
        self, requests: Mapping[str, Request], asking: Awaitable[Sequence[Reply]]
    ) -> Sequence[Reply]:
        """Wait for replies, let identical requests join meanwhile, and store what came."""
        flights = {key: asyncio.get_running_loop().create_future() for key in requests}
        self._in_flight |= flights
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        replies: Sequence[Reply] = ()
        try:
            replies = await asking
        except asyncio.CancelledError:
            raise  # who joined asks again
        except BaseException as error:
            for flight in flights.values():
                flight.set_exception(error)
                flight.exception()  # nobody may have joined to hear of it
            raise
        finally:
            self._asking.discard(task)
            landed = iter(replies)
            for key, flight in flights.items():
                del self._in_flight[key]
                if not flight.done():
                    flight.set_result(next(landed, None))
        self.fresh_calls += len(replies)
        if self.store is not None:
            for (key, request), reply in zip(requests.items(), replies, strict=False):
                self.store.put(key, request, reply)
        return replies

    def _endpoint(self, lm: LM) -> Endpoint:
        # Scripted LMs of one name are different scripts; copies with other settings are the same.
        model = f"{lm.model}#{id(lm.requests)}" if isinstance(lm, ScriptedLM) else lm.provider
        server = (lm.base_url, lm.replicas, lm.api_key, tuple(lm.headers.items()), lm.tls)
        looked_after = self.servers is not None and is_served(lm)
        key = (model, *server, lm.limits, lm.timeout, looked_after)
        if key not in self._endpoints:
            self._endpoints[key] = Endpoint(
                lm,
                max_in_flight=self.max_in_flight,
                retry=self._retry,
                on_retry=self._on_retry,
                open_provider=self._open_served if looked_after else open_provider,
            )
        return self._endpoints[key]

    def _open_served(self, lm: LM, _: str | None) -> Provider:
        from lmpipe.lm.providers.served import ServedProvider

        assert self.servers is not None
        return ServedProvider(lm, self.servers)

    def _account(self, key: str, request: Request, reply: Reply, label: str) -> Reply:
        scope = current_scope()
        if scope.calls is not None:
            lm, role = request.lm, "embedder" if request.embeds else scope.role
            scope.calls.append(Call(key, label, role, lm.model, price_of(lm), reply))
        return reply


async def _alone(asked: Awaitable[Reply]) -> tuple[Reply]:
    return (await asked,)
