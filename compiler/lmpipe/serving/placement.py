"""Decide which servers fit on the devices side by side, and which to stop for another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.serving.spec import ServerSpec

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """The number of devices that a server needs, and its share of each one's memory, up to 1.

    A pinned server needs the devices in `only`.
    """

    count: int
    share: float
    only: tuple[int, ...] = ()

    @staticmethod
    def of(spec: ServerSpec) -> Need:
        """Return what a spec asks for; whole devices if it names no share of memory."""
        count = max(spec.device_count, len(spec.devices))
        return Need(count, 1.0 if spec.memory is None else spec.memory, spec.devices)


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
