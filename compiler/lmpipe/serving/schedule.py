"""Describe which servers a fleet will start and stop in each phase, for `--dry-run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

from lmpipe.serving.placement import Need, Placed, make_room, place


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
    lines, clock = [], count(1)
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
