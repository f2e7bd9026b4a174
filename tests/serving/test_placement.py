"""Placing servers on devices, and the schedule of a fleet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.serving import Fleet, ServerSpec
from lmpipe.serving.placement import Need, Placed, make_room, place

TEACHER, STUDENT = ServerSpec(model="teacher"), ServerSpec(model="student")


def test_the_devices_with_the_most_free_memory_are_chosen() -> None:
    running = {"a": Placed((0,), 0.5)}
    assert place(Need(1, 0.5), running, (0, 1)) == (1,)
    assert place(Need(2, 0.5), running, (0, 1)) == (0, 1)
    assert place(Need(1, 0.6), running, (0,)) is None
    assert place(Need(2, 0.6), running, (0, 1)) is None


def test_ten_shares_of_a_tenth_fill_a_device() -> None:
    running = {str(n): Placed((0,), 0.1) for n in range(9)}
    assert place(Need(1, 0.1), running, (0,)) == (0,)
    assert place(Need(1, 0.1), {**running, "9": Placed((0,), 0.1)}, (0,)) is None


def test_a_pinned_server_uses_only_its_devices() -> None:
    assert place(Need(1, 1.0, (1,)), {}, (0, 1)) == (1,)
    assert place(Need(1, 1.0, (1,)), {"a": Placed((1,), 0.1)}, (0, 1)) is None
    assert place(Need(1, 1.0, (7,)), {}, (0, 1)) is None


def test_the_longest_idle_server_is_stopped_first_and_none_in_vain() -> None:
    running = {
        "old": Placed((0,), 1.0, idle_since=1),
        "new": Placed((1,), 1.0, idle_since=2),
        "used": Placed((2,), 1.0),
    }
    assert make_room(Need(1, 1.0), running, (0, 1, 2)) == ["old"]
    assert make_room(Need(2, 1.0), running, (0, 1, 2)) == ["old", "new"]
    assert make_room(Need(1, 1.0, (1,)), running, (0, 1, 2)) == ["new"]
    assert make_room(Need(1, 1.0, (2,)), running, (0, 1, 2)) is None
    assert make_room(Need(3, 1.0), running, (0, 1, 2)) is None


shares = st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.9, 1.0])
devices = st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True).map(tuple)
servers = st.builds(Placed, devices, shares, st.none() | st.integers(0, 9))


@given(
    st.dictionaries(st.sampled_from("abcde"), servers),
    st.integers(1, 4),
    shares,
)
def test_stopping_makes_room_and_spares_servers_in_use(
    running: dict[str, Placed], count: int, share: float
) -> None:
    need, all_devices = Need(count, share), (0, 1, 2, 3)
    stopped = make_room(need, running, all_devices)
    if stopped is None:
        used = {name: one for name, one in running.items() if one.idle_since is None}
        assert place(need, used, all_devices) is None
        return
    assert all(running[name].idle_since is not None for name in stopped)
    left = {name: one for name, one in running.items() if name not in stopped}
    assert place(need, left, all_devices) is not None
    for name in stopped:  # each of them was necessary
        assert place(need, {**left, name: running[name]}, all_devices) is None


PHASES = [
    ("rollouts", ["TEACHER"]),
    ("train STUDENT", []),
    ("evaluate", ["STUDENT"]),
    ("evaluate again", ["STUDENT", "TEACHER"]),
]


def test_on_one_gpu_servers_take_turns() -> None:
    fleet = Fleet({"TEACHER": TEACHER, "STUDENT": STUDENT}, devices=[0])
    assert fleet.schedule(PHASES) == [
        "rollouts: serve TEACHER on GPU 0",
        "stop TEACHER, train STUDENT on GPU 0",
        "evaluate: serve STUDENT on GPU 0",
        "evaluate again: keep STUDENT on GPU 0, stop STUDENT, serve TEACHER on GPU 0 "
        "(they take turns)",
    ]


def test_on_two_gpus_servers_run_side_by_side() -> None:
    fleet = Fleet({"TEACHER": TEACHER, "STUDENT": STUDENT}, devices=[0, 1])
    assert fleet.schedule([("compile", ["TEACHER", "STUDENT"]), ("train", [])]) == [
        "compile: serve TEACHER on GPU 0, serve STUDENT on GPU 1",
        "stop TEACHER and STUDENT, train on GPUs 0, 1",
    ]


def test_a_cpu_is_one_device() -> None:
    half = ServerSpec(model="student", memory=0.5, tensor_parallel=2)
    fleet = Fleet({"TEACHER": half, "STUDENT": half}, devices=[])
    assert fleet.schedule([("compile", ["TEACHER", "STUDENT"])]) == [
        "compile: serve TEACHER on the CPU, serve STUDENT on the CPU"
    ]


def test_a_server_that_never_fits_is_refused_at_once() -> None:
    big = ServerSpec(model="big", tensor_parallel=2)
    with pytest.raises(ConfigError, match="the server TEACHER needs 2 GPUs; the fleet has: 0"):
        Fleet({"TEACHER": big}, devices=[0])
    with pytest.raises(ConfigError, match="needs GPUs 7"):
        Fleet({"TEACHER": ServerSpec(model="m", devices=(7,))}, devices=[0])
