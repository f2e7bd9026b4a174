"""What a fleet will do, phase by phase, in words; for `--dry-run`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmpipe.serving.placement import Need, Placed, make_room, place


def plan(
    needs: Mapping[str, Need],
    devices: Sequence[int],
    phases: Sequence[tuple[str, Sequence[str]]],
    *,
    on_gpu: bool,
) -> list[str]:
    """A line for each phase: what is served and stopped, and where.

    Args:
        needs: what each server takes.
        devices: the devices that there are.
        phases: names, with the servers that each one uses; a phase that uses none, such as a
            training, has all devices to itself.
        on_gpu: whether devices are GPUs.
    """
    running: dict[str, Placed] = {}
    lines, clock = [], 0
    for label, names in phases:
        if not names:
            stopped = f"stop {_and(list(running))}, " if running else ""
            lines.append(f"{stopped}{label} on {_where(devices, on_gpu)}")
            running.clear()
            continue
        steps = []
        for name in dict.fromkeys(names):
            clock += 1
            verb = "keep" if name in running else "serve"
            if verb == "serve":
                steps += [f"stop {one}" for one in _start(name, needs[name], running, devices)]
            placed = running[name]
            running[name] = Placed(placed.devices, placed.share, clock)
            steps.append(f"{verb} {name} on {_where(placed.devices, on_gpu)}")
        lines.append(f"{label}: {', '.join(steps)}{_turns(names, running)}")
    return lines


def _start(name: str, need: Need, running: dict[str, Placed], devices: Sequence[int]) -> list[str]:
    """Start a server, and return who was stopped for it."""
    stopped = make_room(need, running, devices)
    for one in stopped or ():
        del running[one]
    where = place(need, running, devices)
    assert where is not None  # a fleet takes no server that does not fit by itself
    running[name] = Placed(where, need.share, 0)
    return stopped or []


def _turns(names: Sequence[str], running: Mapping[str, Placed]) -> str:
    away = [name for name in names if name not in running]
    return " (they take turns)" if away else ""


def _where(devices: Sequence[int], on_gpu: bool) -> str:
    if not on_gpu:
        return "the CPU"
    numbers = ", ".join(map(str, devices))
    return f"GPU {numbers}" if len(devices) == 1 else f"GPUs {numbers}"


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
