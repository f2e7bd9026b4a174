"""The runtime: store, coalescing, limits, retries, accounts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from lmpipe.errors import ConfigError, LMError, LMRequestError, LMUnavailableError
from lmpipe.lm.call import Call
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy


class Memory:
    """A store that keeps replies in a dict."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.closed = False

    def get(self, key: str, request: Request | None = None) -> Reply | None:
        found = self.replies.get(key)
        return found.as_cached() if found else None

    def put(self, key: str, request: Request, reply: Reply) -> None:
        self.replies[key] = reply

    def close(self) -> None:
        self.closed = True


class Gate:
    """Counts the calls that wait in it."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.now = self.most = 0
        self.closed = False

    async def __aenter__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.reached.set()
        await self.opened.wait()

    async def __aexit__(self, *error: object) -> None:
        self.now -= 1


class GatedLM(ScriptedLM):
    """Replies when its gate is opened."""

    def __init__(self, script: Callable[[Request], str] = lambda request: "ok") -> None:
        super().__init__(script)
        self.__dict__["gate"] = Gate()  # shared by copies with other settings

    gate: Gate

    async def complete(self, request: Request) -> Reply:
        async with self.gate:
            return await super().complete(request)

    async def aclose(self) -> None:
        self.gate.closed = True


def request(lm: LM, text: str = "x", sample: int = 0) -> Request:
    return Request(lm, (Message("user", text),), sample=sample)


def on_the_loop(test: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario on the library's loop, where the order of its steps is fixed."""

    async def bounded() -> None:
        async with asyncio.timeout(10):
            await test()

    loop.run_sync(bounded())


def once() -> RetryPolicy:
    return RetryPolicy(attempts=1)


# --- coalescing


def test_identical_requests_in_flight_are_one_call() -> None:
    async def scenario() -> None:
        lm, runtime = GatedLM(), Runtime()
        waiting = [asyncio.create_task(runtime.acomplete(request(lm))) for _ in range(50)]
        await lm.gate.reached.wait()
        lm.gate.opened.set()
        replies = await asyncio.gather(*waiting)
        assert {reply.text for reply in replies} == {"ok"}
        assert len(lm.requests) == runtime.fresh_calls == 1
        assert sum(not reply.cached for reply in replies) == 1

    on_the_loop(scenario)


def test_different_requests_in_flight_are_separate_calls() -> None:
    async def scenario() -> None:
        lm, runtime = GatedLM(), Runtime()
        lm.gate.opened.set()
        many = [request(lm, "a"), request(lm, "b"), request(lm, "a", sample=1)]
        many.append(request(lm.with_settings(temperature=1.0), "a"))
        await asyncio.gather(*(runtime.acomplete(one) for one in many))
        assert len(lm.requests) == 4

    on_the_loop(scenario)


def test_without_a_store_a_later_request_is_a_fresh_call() -> None:
    lm, runtime = ScriptedLM(["a", "b"]), Runtime()
    assert [runtime.complete(request(lm)).text for _ in range(2)] == ["a", "b"]


def test_cancelling_one_caller_does_not_affect_the_others() -> None:
    async def scenario() -> None:
        lm, runtime = GatedLM(), Runtime()
        first, second = (asyncio.create_task(runtime.acomplete(request(lm))) for _ in range(2))
        await lm.gate.reached.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        lm.gate.opened.set()
        assert (await second).text == "ok"
        assert len(lm.requests) == 1

    on_the_loop(scenario)


def test_a_caller_can_repeat_a_cancelled_request() -> None:
    async def scenario() -> None:
        lm, store = GatedLM(), Memory()
        runtime = Runtime(store=store)
        only = asyncio.create_task(runtime.acomplete(request(lm)))
        await lm.gate.reached.wait()
        only.cancel()
        lm.gate.opened.set()
        assert (await runtime.acomplete(request(lm))).text == "ok"
        assert len(lm.requests) == len(store.replies) == 1

    on_the_loop(scenario)


def test_callers_share_an_error_and_a_later_one_tries_again() -> None:
    answers = iter([LMRequestError("no"), "fine"])

    def script(request: Request) -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scenario() -> None:
        lm, runtime = GatedLM(script), Runtime(store=Memory())
        waiting = [asyncio.create_task(runtime.acomplete(request(lm))) for _ in range(3)]
        await lm.gate.reached.wait()
        lm.gate.opened.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(result) for result in results] == ["no"] * 3
        assert (await runtime.acomplete(request(lm))).text == "fine"

    on_the_loop(scenario)


def test_threads_and_loops_coalesce_too() -> None:
    lm, runtime = GatedLM(), Runtime()
    texts: list[str] = []

    def from_plain_python() -> None:
        texts.append(runtime.complete(request(lm)).text)

    def from_a_loop() -> None:
        texts.append(asyncio.run(runtime.acomplete(request(lm))).text)

    threads = [threading.Thread(target=way) for way in [from_plain_python, from_a_loop] * 5]
    for thread in threads:
        thread.start()

    async def release() -> None:
        await lm.gate.reached.wait()
        lm.gate.opened.set()

    loop.run_sync(release())
    for thread in threads:
        thread.join(10)
    assert texts == ["ok"] * 10
    assert lm.gate.most == 1  # never two at once, whenever each caller came


# --- the store


def test_a_stored_reply_is_returned() -> None:
    lm, store = ScriptedLM(["a"]), Memory()
    fresh = Runtime(store=store).complete(request(lm))
    again = Runtime(store=store).complete(request(lm))
    assert (fresh.cached, again.cached) == (False, True)
    assert fresh.text == again.text == "a"


async def test_sync_and_async_callers_share_the_store() -> None:
    lm, runtime = ScriptedLM(["a"]), Runtime(store=Memory())
    runtime.complete(request(lm))
    assert (await runtime.acomplete(request(lm))).cached


def test_errors_are_never_stored() -> None:
    def fail(request: Request) -> str:
        raise LMRequestError("no")

    store = Memory()
    with pytest.raises(LMRequestError):
        Runtime(store=store).complete(request(ScriptedLM(fail)))
    assert store.replies == {}


def test_close_releases_providers_and_store() -> None:
    lm, store = GatedLM(), Memory()
    lm.gate.opened.set()
    runtime = Runtime(store=store)
    runtime.complete(request(lm))
    runtime.close()
    assert lm.gate.closed
    assert store.closed


# --- limits and retries


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5}])
def test_the_number_of_requests_in_flight_is_limited(settings: dict[str, float]) -> None:
    async def scenario() -> None:
        lm, runtime = GatedLM(), Runtime(max_in_flight=3)
        lms = [lm.with_settings(**settings) if settings else lm for _ in range(10)]
        waiting = [
            asyncio.create_task(runtime.acomplete(request(one, str(n))))
            for n, one in enumerate(lms)
        ]
        await lm.gate.reached.wait()
        lm.gate.opened.set()
        await asyncio.gather(*waiting)
        assert lm.gate.most == 3

    on_the_loop(scenario)


def unavailable_at_first(times: int) -> Callable[[Request], str]:
    left = [LMUnavailableError("busy")] * times

    def script(request: Request) -> str:
        if left:
            raise left.pop()
        return "ok"

    return script


def test_an_unavailable_lm_is_retried() -> None:
    seen: list[tuple[int, str]] = []

    def on_retry(attempt: int, wait: float, error: LMError) -> None:
        seen.append((attempt, str(error)))

    runtime = Runtime(retry=RetryPolicy(attempts=3, base=0), on_retry=on_retry)
    assert runtime.complete(request(ScriptedLM(unavailable_at_first(2)))).text == "ok"
    assert seen == [(1, "busy"), (2, "busy")]
    assert runtime.fresh_calls == 1


def test_an_lm_that_stays_unavailable_is_an_error() -> None:
    runtime = Runtime(retry=RetryPolicy(attempts=2, base=0))
    with pytest.raises(LMUnavailableError):
        runtime.complete(request(ScriptedLM(unavailable_at_first(2))))


def test_a_refused_request_is_not_retried() -> None:
    lm = ScriptedLM([])
    with pytest.raises(LMRequestError):
        Runtime(retry=RetryPolicy(attempts=5, base=0)).complete(request(lm))
    assert len(lm.requests) == 1


async def test_a_blocking_call_on_the_loop_is_refused() -> None:
    async def blocks() -> None:
        Runtime().complete(request(ScriptedLM(["a"])))

    with pytest.raises(ConfigError, match="without await"):
        await loop.bridge(blocks())


# --- accounts


def test_calls_are_accounted_cached_or_not() -> None:
    lm = ScriptedLM(["one two"], price=(1e6, 2e6))
    runtime = Runtime(store=Memory())
    calls: list[Call] = []
    with scope(calls=calls, role="teacher"):
        for _ in range(2):
            runtime.complete(request(lm, "a b c"), label="route")
    assert [(call.label, call.role, call.lm, call.usd) for call in calls] == [
        ("route", "teacher", "scripted/scripted", 3 + 2 * 2.0)
    ] * 2
    assert [call.reply.cached for call in calls] == [False, True]
    assert calls[0].key == calls[1].key


def test_every_caller_of_a_shared_request_accounts_one_call() -> None:
    async def scenario() -> None:
        lm, runtime = GatedLM(), Runtime()

        async def run() -> list[Call]:
            calls: list[Call] = []
            with scope(calls=calls):
                await runtime.acomplete(request(lm))
            return calls

        waiting = [asyncio.create_task(run()) for _ in range(5)]
        await lm.gate.reached.wait()
        lm.gate.opened.set()
        assert [len(calls) for calls in await asyncio.gather(*waiting)] == [1] * 5

    on_the_loop(scenario)


async def test_accounts_work_from_another_loop() -> None:
    calls: list[Call] = []
    with scope(calls=calls):
        await Runtime().acomplete(request(ScriptedLM(["a"])))
    assert len(calls) == 1


def test_a_failed_call_is_not_accounted() -> None:
    calls: list[Call] = []
    with scope(calls=calls), pytest.raises(LMRequestError):
        Runtime().complete(request(ScriptedLM([])))
    assert calls == []


def test_closing_cancels_requests_in_flight() -> None:
    async def scenario() -> None:
        lm, runtime = GatedLM(), Runtime()
        waiting = asyncio.create_task(runtime.acomplete(request(lm)))
        await lm.gate.reached.wait()
        waiting.cancel()
        await runtime.aclose()
        lm.gate.opened.set()
        await asyncio.sleep(0)
        assert lm.requests == []
        assert lm.gate.closed

    on_the_loop(scenario)


def test_a_runtime_with_another_limit_keeps_the_retries() -> None:
    def unavailable(request: Request) -> str:
        raise LMUnavailableError("unavailable")

    lm = ScriptedLM(unavailable)
    with pytest.raises(LMUnavailableError):
        Runtime(retry=once()).with_limit(2).complete(request(lm))
    assert len(lm.requests) == 1


# --- several samples


def test_samples_are_in_flight_together_if_the_server_draws_only_one_each() -> None:
    async def scenario() -> None:
        lm, runtime = GatedLM(), Runtime()
        sampled = asyncio.create_task(
            runtime.acomplete_samples([request(lm, sample=number) for number in range(5)])
        )
        while lm.gate.now < 5:  # noqa: ASYNC110
            await asyncio.sleep(0)
        lm.gate.opened.set()
        assert len(await sampled) == 5

    on_the_loop(scenario)


def test_samples_that_are_stored_are_not_drawn_again() -> None:
    lm = ScriptedLM(lambda request: f"sample {request.sample}")
    runtime = Runtime(store=Memory())
    requests = [request(lm, sample=number) for number in range(3)]
    runtime.complete(requests[1])
    calls: list[Call] = []
    with scope(calls=calls):
        replies = loop.run_sync(runtime.acomplete_samples(requests))
    assert [reply.text for reply in replies] == ["sample 0", "sample 1", "sample 2"]
    assert sorted(reply.cached for reply in replies) == [False, False, True]
    assert (len(lm.requests), len(calls)) == (3, 3)


# --- waiting and sending again


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_call_tells_how_long_it_waited_beside_its_service(
    monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    clock, calls = [0.0], list[Call]()
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def answer(request: Request) -> Reply:
        clock[0] += 10.0
        return Reply("x", seconds=4.0, attempts=2)

    lm = ScriptedLM(answer)
    runtime = Runtime(store=Memory())
    asked = Request(lm, (Message("user", "hi"),))
    with scope(calls=calls):
        for _ in range(2):
            if asynchronous:
                await runtime.acomplete(asked)
            else:
                await asyncio.to_thread(runtime.complete, asked)
    fresh, cached = calls
    assert (fresh.waited, fresh.reply.seconds, fresh.resent) == (6.0, 4.0, 1)
    assert (cached.waited, cached.reply.cached, cached.resent) == (0.0, True, 1)
