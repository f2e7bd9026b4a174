"""Retries: attempts, waits, `Retry-After`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError, LMError, LMRequestError, LMUnavailableError
from lmpipe.lm.traffic.retry import RetryPolicy, parse_retry_after, with_retries


class Clock:
    """A clock that only sleeping advances."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def failing(*errors: LMError) -> Callable[[int], Awaitable[str]]:
    """A call that raises these errors in turn and then succeeds."""
    left = list(errors)

    async def call(attempt: int) -> str:
        if left:
            raise left.pop(0)
        return "reply"

    return call


AWAY = LMUnavailableError("away")


async def retried(
    call: Callable[[int], Awaitable[str]],
    clock: Clock,
    *,
    first: LMUnavailableError = AWAY,
    seed: int = 0,
    on_retry: Callable[[int, float, LMError], None] | None = None,
    **policy: Any,
) -> str:
    return await with_retries(
        call,
        first,
        policy=RetryPolicy(**policy),
        rng=random.Random(seed),
        started=0.0,
        sleep=clock.sleep,
        clock=lambda: clock.now,
        on_retry=on_retry,
    )


async def test_an_unavailable_server_is_retried_until_it_answers() -> None:
    clock = Clock()
    assert await retried(failing(AWAY, AWAY), clock) == "reply"
    assert len(clock.sleeps) == 3


async def test_attempts_are_numbered() -> None:
    numbers: list[int] = []

    async def call(attempt: int) -> str:
        numbers.append(attempt)
        if attempt < 4:
            raise AWAY
        return "reply"

    await retried(call, Clock())
    assert numbers == [2, 3, 4]


async def test_a_refused_request_is_not_retried() -> None:
    clock = Clock()
    with pytest.raises(LMRequestError, match="no such model"):
        await retried(failing(LMRequestError("no such model")), clock)
    assert len(clock.sleeps) == 1


async def test_the_last_error_reports_attempts_and_time() -> None:
    clock = Clock()
    last = LMUnavailableError("away", status=503)
    with pytest.raises(LMUnavailableError) as caught:
        await retried(failing(AWAY, last), clock, attempts=3)
    assert str(caught.value) == f"away (3 attempts in {sum(clock.sleeps):.1f} seconds)"
    assert caught.value.status == 503
    assert caught.value.__cause__ is last


async def test_a_policy_of_one_attempt_does_not_retry() -> None:
    clock = Clock()
    with pytest.raises(LMUnavailableError, match=r"away \(1 attempt\)"):
        await retried(failing(), clock, attempts=1)
    assert clock.sleeps == []


async def test_no_wait_passes_the_time_limit() -> None:
    clock = Clock()
    busy = LMUnavailableError("busy", retry_after=4.0)
    with pytest.raises(LMUnavailableError, match="3 attempts in"):
        await retried(failing(*[busy] * 9), clock, first=busy, attempts=99, give_up_after=14.0)
    assert 8.0 <= clock.now <= 14.0


async def test_jitter_is_added_to_retry_after() -> None:
    clocks = [Clock() for _ in range(20)]
    for seed, clock in enumerate(clocks):
        await retried(failing(), clock, first=LMUnavailableError("busy", retry_after=7), seed=seed)
    waits = {clock.now for clock in clocks}
    assert min(waits) >= 7.0
    assert max(waits) <= 7.5
    assert len(waits) == 20


async def test_retry_after_is_capped_at_two_minutes() -> None:
    clock = Clock()
    await retried(failing(), clock, first=LMUnavailableError("busy", retry_after=9e9))
    assert 120.0 <= clock.now <= 120.5


async def test_each_wait_is_reported_with_its_attempt() -> None:
    clock = Clock()
    reported: list[tuple[int, float, LMError]] = []
    second = LMUnavailableError("b")
    await retried(failing(second), clock, on_retry=lambda *args: reported.append(args))
    assert reported == [(1, clock.sleeps[0], AWAY), (2, clock.sleeps[1], second)]


async def test_the_same_seed_gives_the_same_waits() -> None:
    clocks = Clock(), Clock()
    for clock in clocks:
        await retried(failing(*[AWAY] * 4), clock, seed=3)
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


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"base": -1}, {"give_up_after": -1}])
def test_an_invalid_policy_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"RetryPolicy\\({next(iter(wrong))}=.* must be"):
        RetryPolicy(**wrong)


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
        ("Sun, 01 Nov 99999 12:00:30 GMT", None),
        ("Sun, 01 Nov 2026 12:00:30 +99999999999999", None),
        ("", None),
    ],
)
def test_retry_after_headers(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, now=NOW) == seconds


@given(st.text())
def test_any_header_is_read_or_ignored(header: str) -> None:
    seconds = parse_retry_after(header, now=NOW)
    assert seconds is None or seconds >= 0
