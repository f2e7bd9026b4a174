"""The fault table: a real HTTP server that misbehaves, and an evaluation that must not notice.

For every fault: nothing hangs, every example gets its answer, no reply is lost or paid for twice,
and both sides count the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from helpers.fake_server import FakeProcess, FakeServer
from helpers.world import answer_body, recipe

import lmpipe
from lmpipe.errors import LMUnavailableError
from lmpipe.evaluation.results import Evaluation
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM, Limits
from lmpipe.lm.request import Message, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.metrics import exact_match

PROGRAM = lmpipe.Predict("question -> answer")


def reply(body: dict[str, Any]) -> str:
    """The question's number is the answer."""
    return f"## answer\n{body['messages'][-1]['content'].split('no. ')[1].split()[0]}"


def examples(count: int) -> list[lmpipe.Example]:
    rows = [lmpipe.Example(question=f"no. {n} ", answer=str(n)) for n in range(count)]
    return [row.with_inputs("question") for row in rows]


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    def hangs(*_: object) -> None:
        raise TimeoutError("hangs")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(50)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Road:
    """A runtime with a cache, and what it told."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.told: list[str] = []
        policy = {"attempts": 40, "base": 0.001, "cap": 0.01, **policy}
        self.runtime = Runtime(
            store=Cache(folder),
            retry=RetryPolicy(**policy),
            on_retry=lambda attempt, wait, error: self.told.append(str(error)),
        )

    def evaluate(self, lm: LM, count: int, **options: Any) -> Evaluation:
        with lmpipe.using(runtime=self.runtime):
            return lmpipe.evaluate(
                PROGRAM, examples(count), exact_match("answer"), lm=lm, **options
            )


@pytest.fixture
def road(tmp_path: Path) -> Iterator[Road]:
    road = Road(tmp_path / "cache")
    yield road
    road.runtime.close()
    assert_nothing_is_left()


def assert_nothing_is_left() -> None:
    """No task of ours is left on the library's loop."""

    async def names() -> list[str]:
        here = asyncio.current_task()
        return [repr(task) for task in asyncio.all_tasks() if task is not here]

    assert loop.run_sync(names()) == []


def check(road: Road, result: Evaluation, servers: list[FakeServer], count: int) -> None:
    """All is answered, and both sides agree on how often."""
    assert result.score == 1.0
    assert result.failures == {}
    assert [len(row.calls) for row in result.rows] == [1] * count
    assert result.fresh_calls == road.runtime.fresh_calls == count
    assert sum(server.stats()["ok"] for server in servers) == count


def check_kept(road: Road, lm: LM, servers: list[FakeServer], count: int) -> None:
    """What was answered is in the cache: nothing is asked again."""
    before = [server.stats()["requests"] for server in servers]
    again = road.evaluate(lm, count)
    assert (again.score, again.calls, again.fresh_calls) == (1.0, count, 0)
    assert [server.stats()["requests"] for server in servers] == before


# --- each fault alone

FAULTS = {
    "429": {"mode": "429"},
    "429 with Retry-After": {"mode": "429", "retry_after": 0.05},
    "429 with a date gone by": {"mode": "429", "retry_after": "Sun, 01 Nov 2020 12:00:00 GMT"},
    "429 with nonsense": {"mode": "429", "retry_after": "soon"},
    "500": {"mode": "500"},
    "502": {"mode": "502"},
    "503 with Retry-After": {"mode": "503", "retry_after": 0.05},
    "reset before the body": {"mode": "reset"},
    "reset in the body": {"mode": "torn"},
    "half a body": {"mode": "half"},
    "half a JSON body": {"mode": "cut"},
    "a wrong content type": {"mode": "garbage"},
    "an empty choice list": {"mode": "empty"},
    "no JSON object": {"mode": "200", "body": "text"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_nothing_but_time(road: Road, fault: str) -> None:
    with FakeServer(reply) as server:
        lm = LM("vllm/m", base_url=server.base_url)
        server.fail(5, **FAULTS[fault])
        check(road, road.evaluate(lm, 16, concurrency=8), [server], 16)
        assert server.stats()["requests"] == 16 + 5
        check_kept(road, lm, [server], 16)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_an_error_and_no_score(tmp_path: Path, fault: str) -> None:
    road = Road(tmp_path / "cache", attempts=2)
    with FakeServer(reply) as server:
        server.fail(1000, **FAULTS[fault])
        with pytest.raises(LMUnavailableError, match="asked 2 times"):
            road.evaluate(LM("vllm/m", base_url=server.base_url), 16, concurrency=8)
        road.runtime.close()
    assert road.runtime.fresh_calls == 0
    assert_nothing_is_left()


@pytest.mark.parametrize("mode", ["stall", "drip"])
def test_a_stall_past_the_timeout_is_asked_again(road: Road, mode: str) -> None:
    with FakeServer(reply) as server:
        lm = LM("vllm/m", base_url=server.base_url, timeout=1.0)
        server.fail(5, mode)
        check(road, road.evaluate(lm, 16, concurrency=8), [server], 16)
        check_kept(road, lm, [server], 16)


def test_a_good_reply_with_a_wrong_label_is_taken(road: Road) -> None:
    with FakeServer(reply) as server:
        server.fail(5, "mislabelled")
        lm = LM("vllm/m", base_url=server.base_url)
        check(road, road.evaluate(lm, 16), [server], 16)
        assert server.stats()["requests"] == 16


def test_a_server_that_is_not_up_yet_is_waited_for(tmp_path: Path) -> None:
    road = Road(tmp_path / "cache", attempts=10_000)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lm = LM("vllm/m", base_url=f"http://127.0.0.1:{port}/v1")
    results: list[Evaluation] = []
    asking = threading.Thread(target=lambda: results.append(road.evaluate(lm, 4)))
    asking.start()
    wait_until(lambda: len(road.told) >= 4)
    with FakeServer(reply, port=port) as server:
        asking.join()
        check(road, results[0], [server], 4)
        road.runtime.close()
    assert "cannot be reached" in road.told[0]


# --- all of them, mixed


@pytest.mark.parametrize(("seed", "replicas"), [(0, 1), (1, 1), (2, 3)])
def test_faults_mixed_at_random_lose_and_repeat_nothing(
    road: Road, seed: int, replicas: int
) -> None:
    rng = random.Random(seed)
    good = [{"mode": "ok"}] * len(FAULTS)
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeServer(reply)) for _ in range(replicas)]
        for server in servers:
            for _ in range(200 // replicas):
                server.fail(1, **rng.choice([*FAULTS.values(), *good]))
            server.fail(2, "stall")
        lm = LM("vllm/m", base_url=[server.base_url for server in servers], timeout=1.5)
        check(road, road.evaluate(lm, 300, concurrency=64), servers, 300)
        check_kept(road, lm, servers, 300)


def test_an_overloaded_server_gets_what_it_can_take(road: Road) -> None:
    with FakeServer(reply, latency=0.01, capacity=6) as server:
        lm = LM("vllm/m", base_url=server.base_url)
        check(road, road.evaluate(lm, 300, concurrency=64), [server], 300)
        # Without adapting, 64 callers would be refused thousands of times.
        assert server.stats()["429"] < 300


# --- replicas


def test_one_of_three_replicas_is_killed(tmp_path: Path) -> None:
    road = Road(tmp_path / "cache", attempts=1)
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeProcess("classify:yes", latency=0.01)) for _ in range(3)]
        killed: list[FakeProcess] = []
        rows: list[object] = []

        def kill_the_busiest(row: object) -> None:
            rows.append(row)
            if len(rows) == 60:
                killed.append(max(servers, key=lambda server: server.stats()["ok"]))
                killed[0].kill()

        with lmpipe.using(runtime=road.runtime):
            result = lmpipe.evaluate(
                PROGRAM,
                examples(300),
                lambda example, prediction: prediction.answer == "yes",
                lm=LM("vllm/m", base_url=[server.base_url for server in servers]),
                concurrency=32,
                on_row=kill_the_busiest,
            )
        alive = [server.stats() for server in servers if server not in killed]
        road.runtime.close()
    assert result.score == 1.0
    assert result.failures == {}
    assert result.calls == result.fresh_calls == road.runtime.fresh_calls == 300
    assert all(stats["ok"] == stats["requests"] > 0 for stats in alive)
    assert len(killed) == len(road.told) == 1
    assert killed[0].base_url in road.told[0]
    assert_nothing_is_left()


def test_a_compile_does_not_notice_that_a_replica_dies(tmp_path: Path) -> None:
    alarm = threading.Event()
    answered = 0

    def counting(body: dict[str, Any]) -> str:
        nonlocal answered
        answered += 1
        if answered == 150:
            alarm.set()
        return answer_body(body)

    def compiled(folder: str, lm: LM) -> Path:
        road = Road(tmp_path / folder / "cache", attempts=1)
        with lmpipe.using(runtime=road.runtime):
            run = lmpipe.compile(recipe(student=lm), runs=tmp_path / folder)
        road.runtime.close()
        return run.path

    with FakeServer(answer_body) as server:
        whole = compiled("whole", LM("vllm/fake", base_url=server.base_url))
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeServer(counting, latency=0.005)) for _ in range(2)]
        dying = FakeServer(counting, latency=0.005)
        dying.__enter__()
        servers.append(dying)

        def die() -> None:
            alarm.wait(30)
            dying.__exit__(None, None, None)

        killer = threading.Thread(target=die)
        killer.start()
        addresses = [one.base_url for one in servers]
        disturbed = compiled("disturbed", LM("vllm/fake", base_url=addresses))
        killer.join()
    for name in ("program.json", "candidates.jsonl", "scores.jsonl"):
        assert (disturbed / name).read_bytes() == (whole / name).read_bytes()


# --- giving up

STALLED = {
    "in line": lambda server: LM("vllm/m", base_url=server.base_url, limits=Limits(in_flight=1)),
    "at the rate limit": lambda server: LM(
        "vllm/m", base_url=server.base_url, limits=Limits(rpm=0.1)
    ),
    "at the server": lambda server: LM("vllm/m", base_url=server.base_url),
}


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


@pytest.mark.parametrize("stage", STALLED)
def test_a_deadline_ends_every_wait(road: Road, stage: str) -> None:
    with FakeServer(reply) as server:
        server.fail(100, "stall")
        with (
            lmpipe.using(deadline=0.3),
            pytest.raises(lmpipe.errors.DeadlineError, match=r"0\.3 s"),
        ):
            road.evaluate(STALLED[stage](server), 8)
        road.runtime.close()
        wait_until(lambda: server.in_flight == 0)
    assert road.runtime.fresh_calls == 0


def test_a_deadline_ends_a_back_off(tmp_path: Path) -> None:
    road = Road(tmp_path / "cache", base=1000, cap=1000)
    with FakeServer(reply) as server:
        server.fail(100, "500")
        with lmpipe.using(deadline=0.3), pytest.raises(lmpipe.errors.DeadlineError):
            road.evaluate(LM("vllm/m", base_url=server.base_url), 8)
        requests = server.stats()["requests"]
        road.runtime.close()
        assert server.stats()["requests"] == requests
    assert_nothing_is_left()


def test_what_nobody_waits_for_any_more_is_not_sent(road: Road) -> None:
    with FakeServer(reply, latency=0.4) as server:
        lm = LM("vllm/m", base_url=server.base_url, limits=Limits(in_flight=2))
        with lmpipe.using(deadline=0.2), pytest.raises(lmpipe.errors.DeadlineError):
            road.evaluate(lm, 32)
        wait_until(lambda: server.in_flight == 0)  # the server is told to stop
        assert server.stats()["requests"] == 2
        assert road.evaluate(lm, 2).fresh_calls == 2


@pytest.mark.parametrize("stage", STALLED)
def test_ctrl_c_ends_a_blocking_call_at_every_stage(road: Road, stage: str) -> None:
    with FakeServer(reply) as server:
        server.fail(100, "stall")
        lm = STALLED[stage](server)
        first = threading.Thread(target=_ask_in_vain, args=(road, lm, "first"))
        first.start()
        wait_until(lambda: server.in_flight == 1)

        def interrupt() -> None:
            main = threading.main_thread().ident or 0
            wait_until(lambda: _waits_for_the_loop(sys._current_frames()[main]))
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            road.runtime.complete(Request(lm, (Message("user", "second"),)))
        road.runtime.close()
        first.join()
        wait_until(lambda: server.in_flight == 0)


def _waits_for_the_loop(frame: FrameType | None) -> bool:
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names[0] == "wait" and "run_sync" in names


def _ask_in_vain(road: Road, lm: LM, text: str) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        road.runtime.complete(Request(lm, (Message("user", text),)))
