"""Decide which servers fit side by side, and describe what a fleet will start and stop."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """The number of devices that a server needs, and its share of each one's memory, up to 1.

    A pinned server needs the devices in `only`.
    """

    count: int
    share: float
    only: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Placed:
    """A server that is running or starting, and the share of each device that it uses.

    `idle_since` is when it became idle, as a number that grows with time; None while in use.
    """

    devices: tuple[int, ...]
    share: float
    idle_since: int | None = None


def place(
    need: Need, running: Mapping[str, Placed], devices: Sequence[int]
) -> tuple[int, ...] | None:
    """Choose devices for one more server, those with the most free memory first.

    A pinned server needs room on each of its devices. Returns None if the server does not fit.
    """
    free = dict.fromkeys(devices, 1.0)
    for placed in running.values():
        for device in placed.devices:
            if device in free:
                free[device] -= placed.share
    roomy = [device for device in free if free[device] + _ROUNDING >= need.share]
    if need.only:
        return need.only if set(need.only) <= set(roomy) else None
    if len(roomy) < need.count:
        return None
    roomy.sort(key=lambda device: -free[device])  # stable: the first of equals
    return tuple(sorted(roomy[: need.count]))


def make_room(
    need: Need, running: Mapping[str, Placed], devices: Sequence[int]
) -> list[str] | None:
    """Choose the idle servers to stop so that another one fits, longest idle first.

    Returns no more than needed, or None if stopping all of them would not make enough room.
    """
    idle = [(placed.idle_since, name) for name, placed in running.items()]
    order = sorted((since, name) for since, name in idle if since is not None)
    left, stopped = dict(running), list[str]()
    for _, name in order:
        if place(need, left, devices) is not None:
            break
        del left[name]
        stopped.append(name)
    if place(need, left, devices) is None:
        return None
    for name in list(stopped):
        remaining = {other: placed for other, placed in running.items() if other not in stopped}
        if place(need, {**remaining, name: running[name]}, devices) is not None:
            stopped.remove(name)
    return stopped


def schedule_lines(
    needs: Mapping[str, Need],
    devices: Sequence[int],
    phases: Sequence[tuple[str, Sequence[str]]],
    *,
    on_gpu: bool,
) -> list[str]:
    """Return a line for each phase: the servers that run and stop in it, and their devices.

    A phase without servers, such as a training, uses all devices.
    """
    running: dict[str, Placed] = {}
    lines, clock = [], itertools.count(1)
    for label, names in phases:
        if not names:
            stopped = f"stop {_join(list(running))}, " if running else ""
            lines.append(f"{stopped}{label} on {_device_names(devices, on_gpu)}")
            running.clear()
            continue
        steps = []
        for name in dict.fromkeys(names):
            verb, need = "keep" if name in running else "serve", needs[name]
            if verb == "serve":
                for other in make_room(need, running, devices) or ():
                    del running[other]
                    steps.append(f"stop {other}")
            placed_on = running[name].devices if verb == "keep" else place(need, running, devices)
            assert placed_on is not None  # a fleet accepts only servers that fit alone
            running[name] = Placed(placed_on, need.share, next(clock))
            steps.append(f"{verb} {name} on {_device_names(placed_on, on_gpu)}")
        turns = "" if all(name in running for name in names) else " (they take turns)"
        lines.append(f"{label}: {', '.join(steps)}{turns}")
    return lines


def _device_names(devices: Sequence[int], on_gpu: bool) -> str:
    if not on_gpu:
        return "the CPU"
    numbers = ", ".join(map(str, devices))
    return f"GPU {numbers}" if len(devices) == 1 else f"GPUs {numbers}"


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
