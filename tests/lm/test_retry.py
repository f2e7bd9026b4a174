from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError, LMError, LMRequestError, LMUnavailableError
from lmpipe.lm.retry import RetryPolicy, parse_retry_after, with_retries


class Clock:
    """Time that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def failing(*errors: LMError) -> Callable[[], Awaitable[str]]:
    """A call that raises these errors in turn and then succeeds."""
    left = list(errors)

    async def call() -> str:
        if left:
            raise left.pop(0)
        return "reply"

    return call


async def retried(
    call: Callable[[], Awaitable[str]], clock: Clock, *, attempts: int = 6, seed: int = 0
) -> str:
    return await with_retries(
        call,
        policy=RetryPolicy(attempts=attempts),
        rng=random.Random(seed),
        sleep=clock.sleep,
        clock=lambda: clock.now,
    )


async def test_a_success_waits_for_nothing() -> None:
    clock = Clock()
    assert await retried(failing(), clock) == "reply"
    assert clock.sleeps == []


async def test_an_unavailable_server_is_asked_again() -> None:
    clock = Clock()
    assert await retried(failing(LMUnavailableError("away"), LMUnavailableError("away")), clock)
    assert len(clock.sleeps) == 2


async def test_a_refused_request_is_not_asked_again() -> None:
    clock = Clock()
    with pytest.raises(LMRequestError, match="no such model"):
        await retried(failing(LMRequestError("no such model")), clock)
    assert clock.sleeps == []


async def test_the_last_error_says_how_often_and_how_long() -> None:
    clock = Clock()
    last = LMUnavailableError("away", status=503)
    with pytest.raises(LMUnavailableError) as caught:
        await retried(
            failing(LMUnavailableError("x"), LMUnavailableError("x"), last), clock, attempts=3
        )
    assert str(caught.value) == f"away (asked 3 times over {sum(clock.sleeps):.1f} seconds)"
    assert caught.value.status == 503
    assert caught.value.__cause__ is last


async def test_retry_after_is_the_shortest_wait() -> None:
    clock = Clock()
    await retried(failing(LMUnavailableError("busy", retry_after=7.0)), clock)
    assert clock.sleeps == [7.0]


async def test_retry_after_is_capped_at_two_minutes() -> None:
    clock = Clock()
    await retried(failing(LMUnavailableError("busy", retry_after=9e9)), clock)
    assert clock.sleeps == [120.0]


async def test_each_wait_is_told_with_its_attempt() -> None:
    clock = Clock()
    told: list[tuple[int, float, LMError]] = []
    first, second = LMUnavailableError("a"), LMUnavailableError("b")
    await with_retries(
        failing(first, second),
        policy=RetryPolicy(),
        rng=random.Random(0),
        sleep=clock.sleep,
        on_retry=lambda *args: told.append(args),
    )
    assert told == [(1, clock.sleeps[0], first), (2, clock.sleeps[1], second)]


async def test_the_same_seed_waits_the_same() -> None:
    clocks = Clock(), Clock()
    for clock in clocks:
        await retried(failing(*[LMUnavailableError("x")] * 5), clock, seed=3)
    assert clocks[0].sleeps == clocks[1].sleeps


@given(attempt=st.integers(1, 1000), seed=st.integers(0, 99))
def test_waits_stay_below_the_doubling_bound(attempt: int, seed: int) -> None:
    policy = RetryPolicy(base=0.5, cap=30.0)
    delay = policy.delay(attempt, None, random.Random(seed))
    assert 0.0 <= delay <= min(30.0, 0.5 * 2 ** (attempt - 1))


def test_waits_are_spread_over_the_whole_bound() -> None:
    delays = [RetryPolicy().delay(3, None, random.Random(seed)) for seed in range(50)]
    assert min(delays) < 0.5
    assert max(delays) > 1.5


def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs 1 attempt"):
        RetryPolicy(attempts=0)


NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.25", 0.25),
        ("Sun, 01 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Nov 2026 12:00:30", 30.0),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_headers(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, now=NOW) == seconds


@given(st.text())
def test_any_header_is_read_or_ignored(header: str) -> None:
    seconds = parse_retry_after(header, now=NOW)
    assert seconds is None or seconds >= 0
