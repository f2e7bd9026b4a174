"""Which servers fit side by side: shares of devices, and who has to go for whom. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.serving.spec import ServerSpec

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """What a server takes.

    Args:
        count: how many devices.
        share: the share of each.
        only: the devices that it is bound to; empty for any.
    """

    count: int
    share: float
    only: tuple[int, ...] = ()

    @staticmethod
    def of(spec: ServerSpec) -> Need:
        """What a spec asks for; a whole device where it names no share."""
        count = max(spec.device_count, len(spec.devices))
        return Need(count, 1.0 if spec.memory is None else spec.memory, spec.devices)


@dataclass(frozen=True, slots=True)
class Placed:
    """A server that runs, or is about to.

    Args:
        devices: where.
        share: how much of each it takes.
        idle_since: a number that grows with time; None while it is in use.
    """

    devices: tuple[int, ...]
    share: float
    idle_since: int | None = None


def place(
    need: Need, running: Mapping[str, Placed], devices: Sequence[int]
) -> tuple[int, ...] | None:
    """The devices for a server beside those that run, the emptiest first; None if there is no room.

    A server that is bound to devices needs room on each of them.
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
    roomy.sort(key=lambda device: -free[device])  # stable: of equals the first one
    return tuple(sorted(roomy[: need.count]))


def make_room(
    need: Need, running: Mapping[str, Placed], devices: Sequence[int]
) -> list[str] | None:
    """The idle servers to stop so that one fits, the longest idle first; None if none would help.

    One that would make no difference is left to run.
    """
    idle = {name: since.idle_since for name, since in running.items()}
    order = sorted((since, name) for name, since in idle.items() if since is not None)
    left, stopped = dict(running), list[str]()
    for _, name in order:
        if place(need, left, devices) is not None:
            break
        del left[name]
        stopped.append(name)
    if place(need, left, devices) is None:
        return None
    for name in list(stopped):
        without = {other: one for other, one in running.items() if other not in stopped}
        if place(need, {**without, name: running[name]}, devices) is not None:
            stopped.remove(name)
    return stopped
