"""The choice among replicas, with times that the tests set."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.lm import LM, Limits
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.replicas import COOL_DOWN, MAX_COOL_DOWN, Lease, Replica, Replicas
from lmpipe.lm.traffic.throttle import Throttle

LMS = LM("scripted/m")


def replicas(count: int = 3, *, limit: int = 64) -> Replicas:
    provider = ScriptedLM([])
    return Replicas(
        [
            Replica(f"http://host-{number}/v1", provider, Throttle(Limits(), limit))
            for number in range(count)
        ]
    )


def request(state: str = "classify", question: str = "x") -> Request:
    return Request(LMS, (Message("system", state), Message("user", question)))


def chosen(
    some: Replicas,
    asked: Request | None = None,
    *,
    now: float = 0.0,
    tried: tuple[Replica, ...] = (),
) -> Replica:
    found = some.choose(asked or request(), 0.0, tried, now)
    assert isinstance(found, Replica)
    return found


def send(some: Replicas, asked: Request | None = None, *, now: float = 0.0) -> Lease:
    return chosen(some, asked, now=now).take(0.0, now)


def lose(lease: Lease, now: float = 0.0) -> bool:
    is_new = lease.lost(now)
    lease.end()
    return is_new


# --- affinity


def test_requests_with_one_prefix_go_to_one_replica() -> None:
    some = replicas()
    addresses = {chosen(some, request(question=str(n))).address for n in range(20)}
    assert len(addresses) == 1


def test_prefixes_are_spread_over_the_replicas() -> None:
    some = replicas()
    counts = Counter(chosen(some, request(f"state {n}")).address for n in range(300))
    assert len(counts) == 3
    assert min(counts.values()) > 60


def test_only_the_prefixes_of_a_replica_that_goes_away_move() -> None:
    three, states = replicas(3), [request(f"state {n}") for n in range(100)]
    two = Replicas([one for one in three.all if one is not three.all[0]])
    for state in states:
        before = chosen(three, state)
        if before is not three.all[0]:
            assert chosen(two, state) is before


def test_a_prefix_goes_to_the_same_replica_in_every_process() -> None:
    homes = [chosen(replicas(), request(state)).address[12] for state in "abcdefgh"]
    assert "".join(homes) == "20121101"


def test_passwords_do_not_affect_the_order() -> None:
    def first(user: str) -> int:
        provider = ScriptedLM([])
        all_ = [
            Replica(f"http://{user}@host-{n}/v1", provider, Throttle(Limits(), 64))
            for n in range(5)
        ]
        return all_.index(chosen(Replicas(all_)))

    assert first("me:one") == first("me:two")


# --- load


def test_one_prefix_uses_all_replicas_under_load() -> None:
    some = replicas()
    for _ in range(60):
        send(some)
    loads = [one.throttle.in_flight for one in some.all]
    assert min(loads) > 0
    assert max(loads) <= 26


def test_a_light_load_stays_with_one_replica() -> None:
    some = replicas()
    assert len({send(some).replica.address for _ in range(4)}) == 1


@given(st.lists(st.integers(0, 5), max_size=150), st.integers(2, 5))
def test_no_replica_has_much_more_load_than_the_others(states: list[int], count: int) -> None:
    some = replicas(count)
    for state in states:
        send(some, request(f"state {state}"))
    loads = [one.throttle.in_flight for one in some.all]
    assert max(loads) <= max(4, 1.25 * (len(states) + 1) / count + 1)


def test_if_all_replicas_are_full_a_request_must_wait() -> None:
    some = replicas(limit=1)
    for _ in range(3):
        send(some)
    assert some.choose(request(), 0.0, (), 0.0) == float("inf")


# --- failures


def test_a_request_that_failed_goes_to_another_replica() -> None:
    some = replicas()
    first = chosen(some)
    second = chosen(some, tried=(first,))
    third = chosen(some, tried=(first, second))
    assert len({first.address, second.address, third.address}) == 3
    assert some.choose(request(), 0.0, (first, second, third), 0.0) is None


def test_a_replica_that_is_away_gets_no_request_until_it_has_cooled_down() -> None:
    some = replicas()
    lease = send(some)
    lose(lease)
    assert chosen(some, now=COOL_DOWN - 0.01) is not lease.replica
    assert chosen(some, now=COOL_DOWN) is lease.replica


def test_one_request_probes_whether_a_replica_is_back() -> None:
    some = replicas()
    lease = send(some)
    lose(lease)
    probe = send(some, now=2.0)
    assert probe.replica is lease.replica
    assert chosen(some, now=2.0) is not lease.replica
    probe.answered()
    probe.end()
    assert chosen(some, now=2.0) is lease.replica


def test_after_a_cancelled_probe_there_may_be_another() -> None:
    some = replicas()
    lease = send(some)
    lose(lease)
    send(some, now=2.0).end()
    assert chosen(some, now=2.0) is lease.replica


def test_each_failed_probe_doubles_the_cool_down_up_to_a_minute() -> None:
    some = replicas(1)
    replica, now, waits = some.all[0], 0.0, []
    for _ in range(9):
        lose(replica.take(0.0, now), now)
        waits.append(replica.until - now)
        now = replica.until
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == MAX_COOL_DOWN


def test_requests_that_were_lost_together_are_one_loss() -> None:
    some = replicas(1)
    leases = [some.all[0].take(0.0, 0.0) for _ in range(64)]
    assert [lose(lease) for lease in leases] == [True, *[False] * 63]
    assert some.all[0].until == COOL_DOWN


def test_a_failed_probe_is_not_reported_again() -> None:
    some = replicas()
    lose(send(some))
    assert not lose(send(some, now=2.0), 2.0)


def test_a_late_answer_shows_that_a_replica_is_there() -> None:
    some = replicas()
    lost, late = send(some), send(some)
    assert lost.replica is late.replica
    lose(lost)
    late.answered()
    assert chosen(some, now=0.1) is lost.replica


def test_an_error_of_the_server_shows_that_it_is_there() -> None:
    some = replicas()
    lost, late = send(some), send(some)
    lose(lost)
    late.broken(0.0)
    assert chosen(some, now=0.1) is lost.replica


def test_if_all_are_away_the_one_that_may_be_back_first_is_chosen() -> None:
    some = replicas()
    for now, replica in enumerate(some.all):
        lose(replica.take(0.0, now), now)
    assert chosen(some, now=0.5) is some.all[0]


def test_an_overloaded_replica_is_passed_over() -> None:
    some = replicas()
    lease = send(some)
    lease.overloaded(30.0, 0.0)
    lease.end()
    assert chosen(some, now=29.0) is not lease.replica
    assert chosen(some, now=30.0) is lease.replica


def test_a_request_that_failed_does_not_wait_for_a_paused_replica() -> None:
    some = replicas(2)
    lease = send(some)
    lease.overloaded(30.0, 0.0)
    lease.end()
    other = chosen(some, now=1.0)
    assert some.choose(request(), 0.0, (other,), 1.0) is None


def test_the_wait_is_for_the_replica_that_is_ready_first() -> None:
    some = replicas(2)
    for replica, seconds in zip(some.all, (9.0, 5.0), strict=True):
        replica.take(0.0, 0.0).overloaded(seconds, 0.0)
    assert some.choose(request(), 0.0, (), 1.0) == pytest.approx(4.0)
