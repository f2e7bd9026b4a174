"""Describe which servers a fleet will start and stop in each phase, for `--dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmpipe.serving.placement import Need, Placed, make_room, place


def schedule_lines(
    needs: Mapping[str, Need],
    devices: Sequence[int],
    phases: Sequence[tuple[str, Sequence[str]]],
    *,
    on_gpu: bool,
) -> list[str]:
    """Return a line for each phase: the servers that run and stop in it, and their devices.

    Args:
        needs: the devices that each server needs, by the server's name.
        devices: the devices of the fleet.
        phases: the name of each phase, with the servers that it uses; a phase without servers,
            such as a training, uses all devices.
        on_gpu: whether the devices are GPUs.
    """
    running: dict[str, Placed] = {}
    lines, clock = [], 0
    for label, names in phases:
        if not names:
            stopped = f"stop {_join(list(running))}, " if running else ""
            lines.append(f"{stopped}{label} on {_device_names(devices, on_gpu)}")
            running.clear()
            continue
        steps = []
        for name in dict.fromkeys(names):
            clock += 1
            verb = "keep" if name in running else "serve"
            if verb == "serve":
                stopped_names = _start(name, needs[name], running, devices)
                steps += [f"stop {stopped_name}" for stopped_name in stopped_names]
            placed = running[name]
            running[name] = Placed(placed.devices, placed.share, clock)
            steps.append(f"{verb} {name} on {_device_names(placed.devices, on_gpu)}")
        lines.append(f"{label}: {', '.join(steps)}{_turns_note(names, running)}")
    return lines


def _start(name: str, need: Need, running: dict[str, Placed], devices: Sequence[int]) -> list[str]:
    """Place a server; return the names of the servers that were stopped to make room for it."""
    stopped = make_room(need, running, devices)
    for other in stopped or ():
        del running[other]
    placed_on = place(need, running, devices)
    assert placed_on is not None  # a fleet accepts only servers that fit alone
    running[name] = Placed(placed_on, need.share, 0)
    return stopped or []


def _turns_note(names: Sequence[str], running: Mapping[str, Placed]) -> str:
    stopped = [name for name in names if name not in running]
    return " (they take turns)" if stopped else ""


def _device_names(devices: Sequence[int], on_gpu: bool) -> str:
    if not on_gpu:
        return "the CPU"
    numbers = ", ".join(map(str, devices))
    return f"GPU {numbers}" if len(devices) == 1 else f"GPUs {numbers}"


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
