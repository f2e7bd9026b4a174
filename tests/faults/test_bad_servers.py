"""The fault table: a real HTTP server that misbehaves during an evaluation.

For every fault: nothing hangs, every example gets its answer, no reply is lost or paid for twice,
and client and server agree on the number of requests.
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
import weakref
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
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.metrics import exact_match

PROGRAM = lmpipe.Predict("question -> answer")


def reply(body: dict[str, Any]) -> str:
    """Answer with the number in the question."""
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


class Client:
    """A runtime with a cache.

    Attributes:
        retries: The error of each attempt that was followed by another one.
    """

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.retries: list[str] = []
        policy = {"attempts": 40, "base": 0.001, "cap": 0.01, **policy}
        self.runtime = Runtime(
            store=Cache(folder),
            retry=RetryPolicy(**policy),
            on_retry=lambda attempt, wait, error: self.retries.append(str(error)),
        )

    def evaluate(self, lm: LM, count: int, **options: Any) -> Evaluation:
        with lmpipe.using(runtime=self.runtime):
            return lmpipe.evaluate(
                PROGRAM, examples(count), exact_match("answer"), lm=lm, **options
            )


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(tmp_path / "cache")
    yield client
    client.runtime.close()
    assert_no_task_is_left()


# Tasks of other tests, such as connections to MCP servers that stay open.
_OTHERS: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()


@pytest.fixture(autouse=True, scope="module")
def _tasks_of_other_tests() -> None:
    _OTHERS.update(loop.run_sync(_tasks()))


def assert_no_task_is_left() -> None:
    """Check that no task of these tests is left on the library's event loop."""
    left = loop.run_sync(_tasks()) - set(_OTHERS)
    assert [repr(task) for task in left] == []


async def _tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


def check(client: Client, result: Evaluation, servers: list[FakeServer], count: int) -> None:
    """Check that everything was answered, and that both sides agree on the number of answers."""
    assert result.score == 1.0
    assert result.failures == {}
    assert [len(row.calls) for row in result.rows] == [1] * count
    assert result.fresh_calls == client.runtime.fresh_calls == count
    assert sum(server.stats()["ok"] for server in servers) == count


def check_cached(client: Client, lm: LM, servers: list[FakeServer], count: int) -> None:
    """Check that the cache has all answers: nothing is sent again."""
    before = [server.stats()["requests"] for server in servers]
    again = client.evaluate(lm, count)
    assert (again.score, again.calls, again.fresh_calls) == (1.0, count, 0)
    assert [server.stats()["requests"] for server in servers] == before


# --- each fault alone

FAULTS = {
    "429": {"mode": "429"},
    "429 with Retry-After": {"mode": "429", "retry_after": 0.05},
    "429 with a date in the past": {"mode": "429", "retry_after": "Sun, 01 Nov 2020 12:00:00 GMT"},
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
def test_a_fault_costs_only_time(client: Client, fault: str) -> None:
    with FakeServer(reply) as server:
        lm = LM("vllm/m", base_url=server.base_url)
        server.fail(5, **FAULTS[fault])
        check(client, client.evaluate(lm, 16, concurrency=8), [server], 16)
        assert server.stats()["requests"] == 16 + 5
        check_cached(client, lm, [server], 16)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_persists_is_an_error_not_a_score(tmp_path: Path, fault: str) -> None:
    client = Client(tmp_path / "cache", attempts=2)
    with FakeServer(reply) as server:
        server.fail(1000, **FAULTS[fault])
        with pytest.raises(LMUnavailableError, match="2 attempts"):
            client.evaluate(LM("vllm/m", base_url=server.base_url), 16, concurrency=8)
        client.runtime.close()
    assert client.runtime.fresh_calls == 0
    assert_no_task_is_left()


@pytest.mark.parametrize("mode", ["stall", "drip"])
def test_a_stall_past_the_timeout_is_retried(client: Client, mode: str) -> None:
    with FakeServer(reply) as server:
        lm = LM("vllm/m", base_url=server.base_url, timeout=1.0)
        server.fail(5, mode)
        check(client, client.evaluate(lm, 16, concurrency=8), [server], 16)
        check_cached(client, lm, [server], 16)


def test_a_good_reply_with_a_wrong_content_type_is_accepted(client: Client) -> None:
    with FakeServer(reply) as server:
        server.fail(5, "mislabelled")
        lm = LM("vllm/m", base_url=server.base_url)
        check(client, client.evaluate(lm, 16), [server], 16)
        assert server.stats()["requests"] == 16


def test_a_request_is_never_sent_more_often_than_the_run_reports(client: Client) -> None:
    """Connections that were used before are closed after the server has read a request."""
    with FakeServer(reply) as server:
        lm = LM("vllm/m", base_url=server.base_url)
        check(client, client.evaluate(lm, 8, concurrency=8), [server], 8)
        server.fail(5, "reset")
        result = client.evaluate(lm, 24, concurrency=8)
        assert (result.score, result.fresh_calls, len(client.retries)) == (1.0, 16, 5)
        assert server.stats()["requests"] == 24 + len(client.retries)


def test_a_server_that_is_not_up_yet_is_waited_for(tmp_path: Path) -> None:
    client = Client(tmp_path / "cache", attempts=10_000)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lm = LM("vllm/m", base_url=f"http://127.0.0.1:{port}/v1")
    results: list[Evaluation] = []
    asking = threading.Thread(target=lambda: results.append(client.evaluate(lm, 4)))
    asking.start()
    wait_until(lambda: len(client.retries) >= 4)
    with FakeServer(reply, port=port) as server:
        asking.join()
        check(client, results[0], [server], 4)
        client.runtime.close()
    assert "cannot be reached" in client.retries[0]


# --- all of them at random


@pytest.mark.parametrize(("seed", "replicas"), [(0, 1), (1, 1), (2, 3)])
def test_faults_at_random_lose_and_repeat_nothing(client: Client, seed: int, replicas: int) -> None:
    rng = random.Random(seed)
    good = [{"mode": "ok"}] * len(FAULTS)
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeServer(reply)) for _ in range(replicas)]
        for server in servers:
            for _ in range(200 // replicas):
                server.fail(1, **rng.choice([*FAULTS.values(), *good]))
            server.fail(2, "stall")
        lm = LM("vllm/m", base_url=[server.base_url for server in servers], timeout=1.5)
        check(client, client.evaluate(lm, 300, concurrency=64), servers, 300)
        check_cached(client, lm, servers, 300)


def test_an_overloaded_server_gets_fewer_requests_at_once(client: Client) -> None:
    with FakeServer(reply, latency=0.01, capacity=6) as server:
        lm = LM("vllm/m", base_url=server.base_url)
        check(client, client.evaluate(lm, 300, concurrency=64), [server], 300)
        # Without adaptation, 64 callers would be refused thousands of times.
        assert server.stats()["429"] < 300


# --- replicas


def test_one_of_three_replicas_is_killed(tmp_path: Path) -> None:
    client = Client(tmp_path / "cache", attempts=1)
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeProcess("classify:yes", latency=0.01)) for _ in range(3)]
        killed: list[FakeProcess] = []
        rows: list[object] = []

        def kill_the_busiest(row: object) -> None:
            rows.append(row)
            if len(rows) == 60:
                killed.append(max(servers, key=lambda server: server.stats()["ok"]))
                killed[0].kill()

        with lmpipe.using(runtime=client.runtime):
            result = lmpipe.evaluate(
                PROGRAM,
                examples(300),
                lambda example, prediction: prediction.answer == "yes",
                lm=LM("vllm/m", base_url=[server.base_url for server in servers]),
                concurrency=32,
                on_row=kill_the_busiest,
            )
        alive = [server.stats() for server in servers if server not in killed]
        client.runtime.close()
    assert result.score == 1.0
    assert result.failures == {}
    assert result.calls == result.fresh_calls == client.runtime.fresh_calls == 300
    assert all(stats["ok"] == stats["requests"] > 0 for stats in alive)
    assert len(killed) == len(client.retries) == 1
    assert killed[0].base_url in client.retries[0]
    assert_no_task_is_left()


def test_a_compile_is_the_same_if_a_replica_dies(tmp_path: Path) -> None:
    alarm = threading.Event()
    answered = 0

    def counting(body: dict[str, Any]) -> str:
        nonlocal answered
        answered += 1
        if answered == 150:
            alarm.set()
        return answer_body(body)

    def compiled(folder: str, lm: LM) -> Path:
        client = Client(tmp_path / folder / "cache", attempts=1)
        with lmpipe.using(runtime=client.runtime):
            run = lmpipe.compile(recipe(student=lm), runs=tmp_path / folder)
        client.runtime.close()
        return run.path

    with FakeServer(answer_body) as server:
        whole = compiled("whole", LM("vllm/fake", base_url=server.base_url))
    with ExitStack() as stack:
        servers = [stack.enter_context(FakeServer(counting, latency=0.005)) for _ in range(2)]
        dying = FakeServer(counting, latency=0.005)
        dying.__enter__()
        servers.append(dying)

        def stop() -> None:
            alarm.wait(30)
            dying.__exit__(None, None, None)

        killer = threading.Thread(target=stop)
        killer.start()
        addresses = [one.base_url for one in servers]
        disturbed = compiled("disturbed", LM("vllm/fake", base_url=addresses))
        killer.join()
    for name in ("program.json", "candidates.jsonl", "scores.jsonl"):
        assert (disturbed / name).read_bytes() == (whole / name).read_bytes()


# --- deadlines and interrupts

STALLED = {
    "in the queue": lambda server: LM(
        "vllm/m", base_url=server.base_url, limits=Limits(in_flight=1)
    ),
    "at the rate limit": lambda server: LM(
        "vllm/m", base_url=server.base_url, limits=Limits(rpm=0.1)
    ),
    "at the server": lambda server: LM("vllm/m", base_url=server.base_url),
}


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


@pytest.mark.parametrize("stage", STALLED)
def test_a_deadline_ends_every_wait(client: Client, stage: str) -> None:
    with FakeServer(reply) as server:
        server.fail(100, "stall")
        with (
            lmpipe.using(deadline=0.3),
            pytest.raises(lmpipe.errors.DeadlineError, match=r"0\.3 s"),
        ):
            client.evaluate(STALLED[stage](server), 8)
        client.runtime.close()
        wait_until(lambda: server.in_flight == 0)
    assert client.runtime.fresh_calls == 0


def test_a_deadline_ends_a_backoff(tmp_path: Path) -> None:
    client = Client(tmp_path / "cache", base=1000, cap=1000)
    with FakeServer(reply) as server:
        server.fail(100, "500")
        with lmpipe.using(deadline=0.3), pytest.raises(lmpipe.errors.DeadlineError):
            client.evaluate(LM("vllm/m", base_url=server.base_url), 8)
        requests = server.stats()["requests"]
        client.runtime.close()
        assert server.stats()["requests"] == requests
    assert_no_task_is_left()


def test_a_request_that_nobody_waits_for_is_not_sent(client: Client) -> None:
    with FakeServer(reply, latency=0.4) as server:
        lm = LM("vllm/m", base_url=server.base_url, limits=Limits(in_flight=2))
        with lmpipe.using(deadline=0.2), pytest.raises(lmpipe.errors.DeadlineError):
            client.evaluate(lm, 32)
        wait_until(lambda: server.in_flight == 0)  # the server sees the client go
        assert server.stats()["requests"] == 2
        assert client.evaluate(lm, 2).fresh_calls == 2


@pytest.mark.parametrize("stage", STALLED)
def test_ctrl_c_ends_a_blocking_call_at_every_stage(client: Client, stage: str) -> None:
    with FakeServer(reply) as server:
        server.fail(100, "stall")
        lm = STALLED[stage](server)
        first = threading.Thread(target=_call_in_vain, args=(client, lm, "first"))
        first.start()
        wait_until(lambda: server.in_flight == 1)

        def interrupt() -> None:
            main = threading.main_thread().ident or 0
            wait_until(lambda: _waits_for_the_loop(sys._current_frames()[main]))
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            client.runtime.complete(Request(lm, (Message("user", "second"),)))
        client.runtime.close()
        first.join()
        wait_until(lambda: server.in_flight == 0)


def _waits_for_the_loop(frame: FrameType | None) -> bool:
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names[0] == "wait" and "run_sync" in names


def _call_in_vain(client: Client, lm: LM, text: str) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        client.runtime.complete(Request(lm, (Message("user", text),)))
