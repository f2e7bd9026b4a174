"""Limits for one server, with times that the tests set."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.lm import LM, Limits
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request
from lmpipe.lm.traffic.throttle import Bucket, Throttle, TokenMeter
from lmpipe.state.usage import Usage

# --- limits per minute


def spend_times(bucket: Bucket, amounts: list[float]) -> list[float]:
    """The times at which the amounts are spent, each as soon as allowed."""
    now, times = 0.0, []
    for amount in amounts:
        while wait := bucket.wait(amount, now):
            now += wait
        bucket.spend(amount, now)
        times.append(now)
    return times


@given(st.integers(1, 5000))
def test_no_minute_has_more_requests_than_allowed(rpm: int) -> None:
    times = spend_times(Bucket(rpm), [1.0] * (2 * rpm))
    for first, last in zip(times, times[rpm:], strict=False):
        assert last - first >= 60 - 1e-6


@given(st.integers(1, 5000))
def test_the_whole_limit_can_be_used(rpm: int) -> None:
    times = spend_times(Bucket(rpm), [1.0] * (2 * rpm))
    assert times[rpm - 1] <= 60.0


@given(st.integers(1, 5000))
def test_no_more_than_a_seconds_worth_is_spent_at_once(rpm: int) -> None:
    times = spend_times(Bucket(rpm), [1.0] * rpm)
    assert sum(time == 0.0 for time in times) <= max(rpm / 60, 1)


@given(
    tpm=st.integers(60, 100_000),
    shares=st.lists(st.floats(0.001, 0.5), min_size=2, max_size=60),
)
def test_no_minute_exceeds_the_limit_by_more_than_one_amount(tpm: int, shares: list[float]) -> None:
    amounts = [share * tpm for share in shares]
    times = spend_times(Bucket(tpm), amounts)
    for first in range(len(times)):
        later = zip(amounts[first:], times[first:], strict=True)
        within = [amount for amount, time in later if time - times[first] < 59.999]
        assert sum(within[:-1]) <= tpm + 1


def test_an_amount_that_is_put_back_can_be_spent_again() -> None:
    bucket = Bucket(60)
    bucket.spend(1.0, 0.0)
    assert bucket.wait(1.0, 0.0) == pytest.approx(1.0)
    bucket.spend(-1.0, 0.0)
    assert bucket.wait(1.0, 0.0) == 0.0


def test_an_amount_larger_than_the_bucket_is_paid_off_afterwards() -> None:
    bucket = Bucket(60)
    assert bucket.wait(100.0, 0.0) == 0.0
    bucket.spend(100.0, 0.0)
    assert bucket.wait(1.0, 0.0) == pytest.approx(100.0)


# --- estimates of tokens


def request(text: str = "x" * 400, max_tokens: int = 100) -> Request:
    return Request(LM("scripted/m", max_tokens=max_tokens), (Message("user", text),))


def test_the_first_estimate_is_the_prompt_and_the_longest_reply() -> None:
    assert TokenMeter().estimate(request()) == 400 / 4 + 100


def test_later_estimates_follow_the_usage_of_replies() -> None:
    meter = TokenMeter()
    meter.learn(request(), Usage(200, 10))
    assert meter.estimate(request("x" * 40)) == 20 + 10


def test_samples_share_their_prompt() -> None:
    meter = TokenMeter()
    meter.learn(request(), Usage(100, 40), samples=4)
    assert meter.estimate(request(), samples=2) == 100 + 20


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 9000)), max_size=200))
def test_an_estimate_is_never_negative(replies: list[tuple[int, int]]) -> None:
    meter = TokenMeter()
    for prompt, completion in replies:
        meter.learn(request(""), Usage(prompt, completion))
    assert 0 <= meter.estimate(request()) < inf


# --- requests in flight


def filled(limit: int) -> Throttle:
    throttle = Throttle(Limits(), limit)
    for _ in range(limit):
        throttle.enter(0.0, 0.0)
    return throttle


def test_a_full_server_gets_no_request_until_one_ends() -> None:
    throttle = filled(2)
    assert throttle.wait(0.0, 0.0) == inf
    throttle.leave()
    assert throttle.wait(0.0, 0.0) == 0.0


def test_the_limit_of_the_lm_overrides_that_of_the_runtime() -> None:
    assert Throttle(Limits(in_flight=3), 64).allowed == 3


def test_an_overload_halves_the_requests_in_flight() -> None:
    throttle = filled(64)
    throttle.overloaded(throttle.cuts, None, 0.0)
    assert throttle.allowed == 32


def test_requests_that_were_sent_together_halve_them_once() -> None:
    throttle = filled(64)
    sent = throttle.cuts
    for _ in range(64):
        throttle.overloaded(sent, None, 0.0)
    assert throttle.allowed == 32


def test_one_request_is_always_allowed() -> None:
    throttle = Throttle(Limits(), 64)
    for _ in range(20):
        throttle.overloaded(throttle.cuts, None, 0.0)
    assert throttle.allowed == 1


def test_one_more_is_allowed_after_as_many_answers_as_are_allowed() -> None:
    throttle = Throttle(Limits(), 64)
    throttle.overloaded(throttle.cuts, None, 0.0)
    for _ in range(32):
        throttle.answered(throttle.cuts)
    assert throttle.allowed == 33


def test_answers_to_requests_from_before_the_cut_do_not_count() -> None:
    throttle = Throttle(Limits(), 8)
    before = throttle.cuts
    throttle.overloaded(before, None, 0.0)
    for _ in range(100):
        throttle.answered(before)
    assert throttle.allowed == 4


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 64))
def test_the_allowed_requests_stay_between_one_and_the_limit(good: list[bool], limit: int) -> None:
    throttle = Throttle(Limits(), limit)
    for one in good:
        if one:
            throttle.answered(throttle.cuts)
        else:
            throttle.overloaded(throttle.cuts, None, 0.0)
        assert 1 <= throttle.allowed <= limit


def refused(throttle: Throttle, times: int) -> list[float]:
    """The pause after each of several refusals of single requests."""
    waits = []
    for _ in range(times):
        throttle.overloaded(throttle.cuts, None, 0.0)
        waits.append(throttle.wait(0.0, 0.0))
    return waits


def test_a_server_that_refuses_single_requests_is_paused_longer_each_time() -> None:
    assert refused(Throttle(Limits(), 1), 8) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_server_is_not_paused_while_fewer_requests_may_help() -> None:
    assert refused(Throttle(Limits(), 4), 3) == [0.0, 0.0, 0.5]


def test_after_an_answer_the_pause_is_short_again() -> None:
    throttle = Throttle(Limits(), 1)
    refused(throttle, 3)
    throttle.answered(throttle.cuts)
    throttle.overloaded(throttle.cuts, None, 100.0)
    assert throttle.wait(0.0, 100.0) == 0.5


# --- retry-after


def test_a_server_is_paused_for_as_long_as_it_asks() -> None:
    throttle = Throttle(Limits(), 64)
    throttle.overloaded(0, 7.0, 100.0)
    assert throttle.wait(0.0, 100.0) == 7.0
    assert throttle.paused(106.9)
    assert throttle.wait(0.0, 107.0) == 0.0


def test_the_longest_of_several_pauses_applies() -> None:
    throttle = Throttle(Limits(), 64)
    throttle.overloaded(0, 7.0, 0.0)
    throttle.overloaded(0, 1.0, 1.0)
    assert throttle.wait(0.0, 1.0) == 6.0


def test_a_pause_is_two_minutes_at_most() -> None:
    throttle = Throttle(Limits(), 64)
    throttle.overloaded(0, 9e9, 0.0)
    assert throttle.wait(0.0, 0.0) == 120.0


# --- rates


def test_a_request_waits_for_requests_and_tokens() -> None:
    throttle = Throttle(Limits(rpm=60, tpm=600), 64)
    throttle.enter(50.0, 0.0)
    assert throttle.wait(10.0, 0.0) == pytest.approx(50 / (600 - 9) * 60, rel=0.01)


def test_an_estimate_that_was_too_high_is_put_back() -> None:
    throttle = Throttle(Limits(tpm=600), 64)
    throttle.enter(50.0, 0.0)
    throttle.correct(50.0, 5.0, 0.0)
    assert throttle.wait(5.0, 0.0) == 0.0


def test_a_request_that_was_not_sent_costs_nothing() -> None:
    throttle = Throttle(Limits(rpm=1, tpm=60), 64)
    throttle.enter(60.0, 0.0)
    throttle.unspend(60.0, 0.0)
    throttle.leave()
    assert throttle.wait(60.0, 0.0) == 0.0
