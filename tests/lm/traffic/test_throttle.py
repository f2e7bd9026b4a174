"""How much one server may be asked, in a time that the tests tell."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.lm import LM, Limits
from lmpipe.lm.request import Message, Request
from lmpipe.lm.traffic.throttle import Bucket, Throttle, TokenMeter
from lmpipe.lm.usage import Usage

# --- allowances per minute


def spend_times(bucket: Bucket, amounts: list[float]) -> list[float]:
    """When each amount is spent, by one that spends as soon as it may."""
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
def test_the_allowance_is_used_up(rpm: int) -> None:
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
def test_no_minute_has_more_tokens_than_allowed_but_for_the_last_step(
    tpm: int, shares: list[float]
) -> None:
    amounts = [share * tpm for share in shares]
    times = spend_times(Bucket(tpm), amounts)
    for first in range(len(times)):
        later = zip(amounts[first:], times[first:], strict=True)
        within = [amount for amount, time in later if time - times[first] < 59.999]
        assert sum(within[:-1]) <= tpm + 1


def test_what_is_put_back_can_be_spent_again() -> None:
    bucket = Bucket(60)
    bucket.spend(1.0, 0.0)
    assert bucket.wait(1.0, 0.0) == pytest.approx(1.0)
    bucket.spend(-1.0, 0.0)
    assert bucket.wait(1.0, 0.0) == 0.0


def test_a_step_larger_than_the_bucket_is_paid_off_afterwards() -> None:
    bucket = Bucket(60)
    assert bucket.wait(100.0, 0.0) == 0.0
    bucket.spend(100.0, 0.0)
    assert bucket.wait(1.0, 0.0) == pytest.approx(100.0)


# --- guessing tokens


def request(text: str = "x" * 400, max_tokens: int = 100) -> Request:
    return Request(LM("scripted/m", max_tokens=max_tokens), (Message("user", text),))


def test_the_first_guess_is_the_prompt_and_the_longest_reply() -> None:
    assert TokenMeter().estimate(request()) == 400 / 4 + 100


def test_later_guesses_follow_what_replies_took() -> None:
    meter = TokenMeter()
    meter.learn(request(), Usage(200, 10))
    assert meter.estimate(request("x" * 40)) == 20 + 10


def test_samples_share_their_prompt() -> None:
    meter = TokenMeter()
    meter.learn(request(), Usage(100, 40), samples=4)
    assert meter.estimate(request(), samples=2) == 100 + 20


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 9000)), max_size=200))
def test_a_guess_is_never_below_zero(replies: list[tuple[int, int]]) -> None:
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


def test_a_full_server_takes_no_more_until_a_request_ends() -> None:
    throttle = filled(2)
    assert throttle.wait(0.0, 0.0) == inf
    throttle.leave()
    assert throttle.wait(0.0, 0.0) == 0.0


def test_the_lms_own_limit_goes_before_the_runtimes() -> None:
    assert Throttle(Limits(in_flight=3), 64).allowed == 3


def test_overload_halves_what_is_allowed() -> None:
    throttle = filled(64)
    throttle.overloaded(throttle.cuts, None, 0.0)
    assert throttle.allowed == 32


def test_requests_that_were_sent_together_halve_it_once() -> None:
    throttle = filled(64)
    sent = throttle.cuts
    for _ in range(64):
        throttle.overloaded(sent, None, 0.0)
    assert throttle.allowed == 32


def test_it_is_never_cut_to_nothing() -> None:
    throttle = Throttle(Limits(), 64)
    for _ in range(20):
        throttle.overloaded(throttle.cuts, None, 0.0)
    assert throttle.allowed == 1


def test_it_grows_back_by_one_for_each_windowful_of_answers() -> None:
    throttle = Throttle(Limits(), 64)
    throttle.overloaded(throttle.cuts, None, 0.0)
    for _ in range(32):
        throttle.answered(throttle.cuts)
    assert throttle.allowed == 33


def test_answers_to_requests_from_before_the_cut_count_for_nothing() -> None:
    throttle = Throttle(Limits(), 8)
    before = throttle.cuts
    throttle.overloaded(before, None, 0.0)
    for _ in range(100):
        throttle.answered(before)
    assert throttle.allowed == 4


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 64))
def test_it_stays_between_one_and_the_limit(good: list[bool], limit: int) -> None:
    throttle = Throttle(Limits(), limit)
    for one in good:
        if one:
            throttle.answered(throttle.cuts)
        else:
            throttle.overloaded(throttle.cuts, None, 0.0)
        assert 1 <= throttle.allowed <= limit


def refused(throttle: Throttle, times: int) -> list[float]:
    """How long it is left alone after each of so many refusals of single requests."""
    waits = []
    for _ in range(times):
        throttle.overloaded(throttle.cuts, None, 0.0)
        waits.append(throttle.wait(0.0, 0.0))
    return waits


def test_a_server_that_refuses_single_requests_is_left_alone_for_longer_each_time() -> None:
    assert refused(Throttle(Limits(), 1), 8) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_as_long_as_fewer_at_once_may_help_it_is_not_left_alone() -> None:
    assert refused(Throttle(Limits(), 4), 3) == [0.0, 0.0, 0.5]


def test_after_an_answer_it_is_left_alone_briefly_again() -> None:
    throttle = Throttle(Limits(), 1)
    refused(throttle, 3)
    throttle.answered(throttle.cuts)
    throttle.overloaded(throttle.cuts, None, 100.0)
    assert throttle.wait(0.0, 100.0) == 0.5


# --- retry-after


def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    throttle = Throttle(Limits(), 64)
    throttle.overloaded(0, 7.0, 100.0)
    assert throttle.wait(0.0, 100.0) == 7.0
    assert throttle.paused(106.9)
    assert throttle.wait(0.0, 107.0) == 0.0


def test_the_longest_of_several_wishes_holds() -> None:
    throttle = Throttle(Limits(), 64)
    throttle.overloaded(0, 7.0, 0.0)
    throttle.overloaded(0, 1.0, 1.0)
    assert throttle.wait(0.0, 1.0) == 6.0


def test_it_is_left_alone_for_two_minutes_at_most() -> None:
    throttle = Throttle(Limits(), 64)
    throttle.overloaded(0, 9e9, 0.0)
    assert throttle.wait(0.0, 0.0) == 120.0


# --- rates


def test_a_request_waits_for_requests_and_tokens() -> None:
    throttle = Throttle(Limits(rpm=60, tpm=600), 64)
    throttle.enter(50.0, 0.0)
    assert throttle.wait(10.0, 0.0) == pytest.approx(50 / (600 - 9) * 60, rel=0.01)


def test_a_guess_too_high_is_put_back() -> None:
    throttle = Throttle(Limits(tpm=600), 64)
    throttle.enter(50.0, 0.0)
    throttle.correct(50.0, 5.0, 0.0)
    assert throttle.wait(5.0, 0.0) == 0.0


def test_a_request_that_was_not_sent_cost_nothing() -> None:
    throttle = Throttle(Limits(rpm=1, tpm=60), 64)
    throttle.enter(60.0, 0.0)
    throttle.unspend(60.0, 0.0)
    throttle.leave()
    assert throttle.wait(60.0, 0.0) == 0.0
