"""Endpoints in virtual time: order, limits, failover, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
from helpers.virtual_time import in_virtual_time, now

from lmpipe.errors import LMError, LMRequestError, LMUnavailableError
from lmpipe.lm.lm import LM, Limits
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.traffic.endpoint import Endpoint
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.state.usage import Usage

ADDRESSES = ["http://a/v1", "http://b/v1", "http://c/v1"]


class Server:
    """A provider that answers after `seconds`, or with its next error."""

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.seconds, self.refuses_in = 1.0, 0.0
        self.errors: list[LMError] = []
        self.dead = False
        self.asked: list[tuple[float, str]] = []
        self.in_flight = self.peak = 0
        self.tokens = 10
        self.closed = False

    async def complete(self, request: Request) -> Reply:
        self.asked.append((now(), request.messages[-1].content))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            if self.dead:
                raise LMUnavailableError(f"{self.address} cannot be reached")
            if self.errors:
                error = self.errors.pop(0)
                await asyncio.sleep(self.refuses_in)
                raise error
            await asyncio.sleep(self.seconds)
            return Reply(self.address, usage=Usage(self.tokens, 0))
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        self.closed = True

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.asked]


class World:
    """An endpoint over such servers, and the retries that it reported."""

    def __init__(
        self,
        *,
        replicas: int = 1,
        max_in_flight: int = 64,
        retry: RetryPolicy | None = None,
        **settings: Any,
    ) -> None:
        self.servers: list[Server] = []
        self.retries: list[tuple[int, float, str]] = []
        self.lm = LM("vllm/m", base_url=ADDRESSES[:replicas], **settings)
        self.endpoint = Endpoint(
            self.lm,
            max_in_flight=max_in_flight,
            retry=retry or RetryPolicy(attempts=3),
            on_retry=lambda attempt, wait, error: self.retries.append((attempt, wait, str(error))),
            open_provider=self._open,
        )

    def _open(self, lm: LM, address: str | None) -> Server:
        self.servers.append(Server(address or ""))
        return self.servers[-1]

    @property
    def server(self) -> Server:
        return self.servers[0]

    def request(self, text: str = "x", state: str = "") -> Request:
        return Request(self.lm, (Message("system", state), Message("user", text)))

    async def ask(self, text: str = "x", state: str = "") -> Reply:
        return await self.endpoint.ask(self.request(text, state))

    async def ask_many(self, count: int) -> list[Reply]:
        return await asyncio.gather(*(self.ask(str(number)) for number in range(count)))

    def preferred(self) -> Server:
        """The server that got the first request."""
        return min((one for one in self.servers if one.asked), key=lambda one: one.times[0])

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight or in the queue."""
        all_ = self.endpoint._replicas.all
        busy = any(one.throttle.in_flight or one.probes for one in all_)
        waiting = any(not one.lease.done() for one in self.endpoint._queue)
        return not busy and not waiting


def scenario(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run() -> None:
        in_virtual_time(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


BUSY = LMUnavailableError("busy", status=429)


# --- order and limits


@scenario
async def test_requests_are_sent_in_the_order_of_their_arrival() -> None:
    world = World(max_in_flight=1)
    await world.ask_many(5)
    assert [text for _, text in world.server.asked] == list("01234")


@scenario
async def test_no_more_requests_are_in_flight_than_allowed() -> None:
    world = World(limits=Limits(in_flight=3))
    await world.ask_many(10)
    assert world.server.peak == 3


@scenario
async def test_requests_per_minute_are_spread_over_the_minute() -> None:
    world = World(limits=Limits(rpm=30))
    await world.ask_many(6)
    assert world.server.times == pytest.approx([0, 2, 4, 6, 8, 10], abs=0.01)


@scenario
async def test_no_minute_has_more_tokens_than_allowed() -> None:
    world = World(limits=Limits(tpm=6000), max_tokens=100)
    world.server.tokens = 1000
    await world.ask_many(30)
    for time in world.server.times:
        within = [one for one in world.server.times if time <= one < time + 60]
        # Until the first replies arrive, 1,000 tokens are estimated to be 100.
        assert len(within) <= 17
    last = world.server.times[-6:]
    assert all(later - earlier == pytest.approx(10, rel=0.05) for earlier, later in pairwise(last))


@scenario
async def test_if_a_server_does_not_count_tokens_the_estimate_applies() -> None:
    world = World(limits=Limits(tpm=6000), max_tokens=1000)
    world.server.tokens = 0
    await world.ask_many(5)
    assert world.server.times[-1] == pytest.approx(40, rel=0.1)


@scenario
async def test_failed_requests_do_not_count_as_tokens() -> None:
    world = World(limits=Limits(tpm=6000), max_tokens=1000, retry=RetryPolicy(base=0.01))
    world.server.errors = [BUSY] * 3
    await world.ask()
    assert world.server.times[-1] < 1


# --- overload


@scenario
async def test_an_overloaded_server_gets_fewer_requests_at_once() -> None:
    world = World(max_in_flight=8, retry=RetryPolicy(attempts=9))
    world.server.errors = [BUSY] * 8
    await world.ask_many(40)
    assert world.server.peak == 8
    after = [time for time in world.server.times[8:] if time == world.server.times[8]]
    assert len(after) <= 4


@scenario
async def test_retry_after_applies_to_the_whole_queue() -> None:
    world = World(max_in_flight=2)
    world.server.refuses_in = 0.1
    world.server.errors = [LMUnavailableError("busy", status=429, retry_after=7)] * 2
    await world.ask_many(10)
    assert len([time for time in world.server.times if time == 0]) == 2
    assert all(time >= 7 for time in world.server.times[2:])


@scenario
async def test_callers_of_a_paused_server_do_not_all_retry_at_once() -> None:
    world = World()
    world.server.refuses_in = 0.1
    world.server.errors = [LMUnavailableError("busy", status=429, retry_after=7)] * 64
    await world.ask_many(64)
    back = world.server.times[64:]
    assert 7 <= min(back) < max(back)
    assert len(set(back)) >= 32


class Strict(Server):
    """Takes 120 requests per minute, and answers 429 to all others."""

    async def complete(self, request: Request) -> Reply:
        if sum(time > now() - 60 for time in self.times) >= 120:
            self.refused += 1
            await asyncio.sleep(0.01)
            raise BUSY
        return await super().complete(request)

    refused = 0


@scenario
async def test_a_server_with_an_unknown_limit_answers_everything_in_the_end() -> None:
    server = Strict()
    endpoint = opened(server, in_flight=64)
    request, limit = World().request(), asyncio.Semaphore(64)

    async def ask() -> Reply:
        async with limit:
            return await endpoint.ask(request)

    assert len(await asyncio.gather(*(ask() for _ in range(400)))) == 400
    assert server.refused < 200


@scenario
async def test_a_request_in_backoff_does_not_delay_others() -> None:
    world = World(max_in_flight=1, retry=RetryPolicy(attempts=3, base=100, cap=100))
    world.server.errors = [LMUnavailableError("broken", status=500)]
    first = asyncio.create_task(world.ask("first"))
    await asyncio.sleep(0)
    assert (await world.ask("second")).text
    assert now() == 1.0
    await first


# --- retries


@scenario
async def test_an_unavailable_server_is_retried() -> None:
    world = World()
    world.server.errors = [BUSY, LMUnavailableError("reset")]
    assert (await world.ask()).text == ADDRESSES[0]
    assert [(attempt, text) for attempt, _, text in world.retries] == [(1, "busy"), (2, "reset")]


@scenario
async def test_a_reply_tells_how_often_its_request_was_sent() -> None:
    world = World(retry=RetryPolicy(attempts=4))
    world.server.errors = [
        LMUnavailableError("it closed the connection", sent=True),
        LMUnavailableError("no connection"),
        LMUnavailableError("no answer in time", sent=True),
    ]
    reply = await world.ask()
    assert (reply.attempts, len(world.server.asked)) == (3, 4)
    assert (await world.ask()).attempts == 1


@scenario
async def test_a_server_that_stays_away_is_an_error() -> None:
    world = World()
    world.server.dead = True
    with pytest.raises(LMUnavailableError, match=r"cannot be reached \(3 attempts in"):
        await world.ask()
    assert len(world.server.asked) == 3
    assert world.idle


@scenario
async def test_time_in_the_queue_does_not_count_as_retry_time() -> None:
    world = World(max_in_flight=1, retry=RetryPolicy(attempts=9, give_up_after=30))
    world.server.seconds = 100
    first = asyncio.create_task(world.ask("first"))
    await asyncio.sleep(0)
    world.server.errors = [BUSY]
    assert await world.ask("second")
    await first


@scenario
async def test_a_refusal_is_not_retried() -> None:
    world = World(replicas=3)
    for server in world.servers:
        server.errors = [LMRequestError("too long", status=400)]
    with pytest.raises(LMRequestError):
        await world.ask()
    assert sum(len(server.asked) for server in world.servers) == 1
    assert world.idle


# --- replicas


@scenario
async def test_one_state_goes_to_one_replica_and_several_are_spread() -> None:
    world = World(replicas=3)
    one_state = {(await world.ask(str(number), "state")).text for number in range(10)}
    states = {(await world.ask("x", f"state {number}")).text for number in range(20)}
    assert (len(one_state), len(states)) == (1, 3)


@scenario
async def test_one_state_under_load_uses_all_replicas() -> None:
    world = World(replicas=3)
    await world.ask_many(64)
    assert min(server.peak for server in world.servers) > 0
    assert max(server.peak for server in world.servers) <= 28


@scenario
async def test_a_dead_replica_costs_no_attempt_and_no_wait() -> None:
    world = World(replicas=3, retry=RetryPolicy(attempts=1))
    await world.ask()
    dead = world.preferred()
    dead.dead = True
    start = now()
    await world.ask_many(64)
    assert now() - start == 1.0


@scenario
async def test_a_dead_replica_is_reported_once() -> None:
    world = World(replicas=3, retry=RetryPolicy(attempts=1))
    await world.ask()
    dead = world.preferred()
    dead.dead = True
    await world.ask_many(64)
    assert world.retries == [(1, 0.0, f"{dead.address} cannot be reached")]


@scenario
async def test_a_dead_replica_gets_no_request_until_it_has_cooled_down() -> None:
    world = World(replicas=3)
    for server in world.servers:
        server.seconds = 0.1
    await world.ask()
    dead = world.preferred()
    dead.dead = True
    await world.ask()
    tries = len(dead.asked)
    await asyncio.gather(*(world.ask() for _ in range(20)))
    assert len(dead.asked) == tries
    await asyncio.sleep(10)
    await asyncio.gather(*(world.ask() for _ in range(20)))
    assert len(dead.asked) == tries + 1


@scenario
async def test_a_replica_that_is_back_gets_its_prefixes_again() -> None:
    world = World(replicas=3)
    home = (await world.ask()).text
    dead = world.preferred()
    dead.dead = True
    assert (await world.ask()).text != home
    dead.dead = False
    await asyncio.sleep(10)
    assert (await world.ask()).text == home


@scenario
async def test_requests_for_a_dead_replica_wait_for_room_at_the_others() -> None:
    world = World(replicas=2, max_in_flight=4, retry=RetryPolicy(attempts=1))
    await world.ask()
    world.preferred().dead = True
    assert len(await world.ask_many(40)) == 40


@scenario
async def test_requests_in_the_queue_fail_if_all_replicas_die() -> None:
    world = World(replicas=2, max_in_flight=1, retry=RetryPolicy(attempts=1))
    waiting = [asyncio.create_task(world.ask(str(number))) for number in range(2)]
    await asyncio.sleep(0.5)
    waiting += [asyncio.create_task(world.ask(str(number))) for number in range(2, 6)]
    for server in world.servers:
        server.dead = True
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, Reply) for one in results] == [True] * 2 + [False] * 4
    assert world.idle


@scenario
async def test_if_all_replicas_are_away_they_are_retried_later() -> None:
    world = World(replicas=3)
    for server in world.servers:
        server.dead = True
    with pytest.raises(LMUnavailableError, match="3 attempts"):
        await world.ask()
    assert [len(server.asked) for server in world.servers] == [3, 3, 3]


@scenario
async def test_one_replica_of_many_is_enough() -> None:
    world = World(replicas=3, retry=RetryPolicy(attempts=1))
    for server in world.servers:
        server.errors = [LMUnavailableError("reset")]
    await asyncio.gather(*(world.ask(state=f"{n}") for n in range(3)), return_exceptions=True)
    world.servers[0].dead = world.servers[1].dead = True
    assert (await world.ask()).text == ADDRESSES[2]


@scenario
async def test_requests_for_an_overloaded_replica_go_to_the_others_at_once() -> None:
    world = World(replicas=3)
    await world.ask()
    home = world.preferred()
    home.errors = [LMUnavailableError("busy", status=429, retry_after=60)]
    start = now()
    assert (await world.ask()).text != home.address
    assert now() - start == 1.0
    assert world.retries == []


@scenario
async def test_a_replica_that_answers_500_is_not_considered_dead() -> None:
    world = World(replicas=2)
    home = (await world.ask()).text
    world.preferred().errors = [LMUnavailableError("broken", status=500)]
    assert (await world.ask()).text != home
    assert (await world.ask()).text == home


# --- cancellation at every stage


async def cancel(world: World, task: asyncio.Task[Reply]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@scenario
async def test_cancelled_in_the_queue() -> None:
    world = World(max_in_flight=1)
    tasks = [asyncio.create_task(world.ask(str(number))) for number in range(3)]
    await asyncio.sleep(0.5)
    await cancel(world, tasks[1])
    await asyncio.gather(tasks[0], tasks[2])
    assert [text for _, text in world.server.asked] == ["0", "2"]
    assert world.idle


@scenario
async def test_cancelled_at_the_moment_of_its_turn() -> None:
    world = World(max_in_flight=1)

    async def then_cancel() -> None:
        await world.ask("0")
        second.cancel()

    first = asyncio.create_task(then_cancel())
    await asyncio.sleep(0)
    second, third = (asyncio.create_task(world.ask(text)) for text in "12")
    await asyncio.gather(first, third)
    assert [text for _, text in world.server.asked] == ["0", "2"]
    assert second.cancelled()
    assert world.idle


@scenario
async def test_cancelled_while_waiting_for_the_rate() -> None:
    world = World(limits=Limits(rpm=6))
    first, second, third = (asyncio.create_task(world.ask(str(number))) for number in range(3))
    await asyncio.sleep(5)
    await cancel(world, second)
    await asyncio.gather(first, third)
    assert world.server.times == pytest.approx([0, 10])  # the third takes the second one's turn
    assert world.idle


@scenario
async def test_cancelled_while_the_server_answers() -> None:
    world = World(replicas=3)
    task = asyncio.create_task(world.ask())
    await asyncio.sleep(0.5)
    await cancel(world, task)
    assert world.idle
    assert not any(server.in_flight for server in world.servers)


@scenario
async def test_cancelled_in_backoff() -> None:
    world = World(retry=RetryPolicy(base=100, cap=100))
    world.server.dead = True
    task = asyncio.create_task(world.ask())
    await asyncio.sleep(0.01)
    assert world.retries
    await cancel(world, task)
    assert world.idle


@scenario
async def test_cancelled_while_probing_a_replica_that_was_away() -> None:
    world = World(replicas=2)
    await world.ask()
    home = world.preferred()
    home.errors = [LMUnavailableError("reset")]
    await world.ask()
    await asyncio.sleep(10)
    task = asyncio.create_task(world.ask())
    await asyncio.sleep(0.5)
    await cancel(world, task)
    assert world.idle
    assert (await world.ask()).text == home.address


@scenario
async def test_any_number_of_requests_may_be_cancelled_at_any_time() -> None:
    world = World(replicas=2, max_in_flight=2, retry=RetryPolicy(attempts=9, base=0.1))
    for server in world.servers:
        server.errors = [BUSY, LMUnavailableError("reset"), LMUnavailableError("x", status=500)] * 5
    tasks = [asyncio.create_task(world.ask(str(number))) for number in range(60)]
    for number, task in enumerate(tasks):
        if number % 3:
            asyncio.get_running_loop().call_later(number * 0.13, task.cancel)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, Reply | asyncio.CancelledError) for one in results)
    assert world.idle
    assert len(await world.ask_many(4)) == 4


@scenario
async def test_closing_ends_waiting_requests_and_closes_every_replica() -> None:
    world = World(replicas=2, limits=Limits(rpm=1))
    tasks = [asyncio.create_task(world.ask(str(number))) for number in range(5)]
    await asyncio.sleep(5)
    await world.endpoint.aclose()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(one, asyncio.CancelledError) for one in results) == 3
    assert all(server.closed for server in world.servers)


# --- streams and samples


class Streaming(Server):
    async def stream(self, request: Request, on_text: Callable[[str], None]) -> Reply:
        on_text("half")
        reply = await self.complete(request)
        on_text(reply.text)
        return reply


class Sampling(Server):
    async def samples(self, request: Request, n: int) -> list[Reply]:
        return [await self.complete(request)] * n


def opened(server: Server, *, in_flight: int = 4, **settings: Any) -> Endpoint:
    lm = LM("vllm/m", base_url=ADDRESSES[0], **settings)
    return Endpoint(
        lm, max_in_flight=in_flight, retry=RetryPolicy(), open_provider=lambda lm, address: server
    )


@pytest.mark.parametrize(
    ("server", "reported"), [(Streaming("all"), ["half", "half", "all"]), (Server("all"), ["all"])]
)
def test_text_is_reported_as_it_arrives_if_the_provider_streams(
    server: Server, reported: list[str]
) -> None:
    texts: list[str] = []

    async def ask() -> Reply:
        server.errors = [BUSY]
        request = World().request()
        return await opened(server).ask(request, on_text=texts.append)

    assert in_virtual_time(ask()).text == "all"
    assert texts == reported


def test_samples_are_one_request() -> None:
    server = Sampling("reply")

    async def ask() -> list[Reply]:
        endpoint = opened(server, limits=Limits(tpm=1000))
        assert endpoint.draws_samples
        return await endpoint.samples(World().request(), 3)

    assert [reply.text for reply in in_virtual_time(ask())] == ["reply"] * 3
    assert len(server.asked) == 1


def test_a_provider_without_samples_is_recognized() -> None:
    assert not opened(Server()).draws_samples


def test_an_endpoint_may_outlive_its_loop() -> None:
    world = World(max_in_flight=1)

    async def abandon() -> None:
        world.server.seconds = 1e9
        task = asyncio.create_task(world.ask())
        await asyncio.sleep(1)
        task.cancel()

    in_virtual_time(_quietly(abandon))
    world.server.seconds = 1.0
    assert in_virtual_time(world.ask()).text


async def _quietly(abandon: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await abandon()
    await asyncio.sleep(0)
