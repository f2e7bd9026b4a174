"""Where the time of a call goes, by stage: a profile's self times, read by file and function.

Functions that belong to no stage of their own (built-ins, `re`, `contextlib`) count as part of
whoever called them. A profiler slows small functions down most, so the shares are scaled to the
time that a call takes without it, and py-spy, which slows nothing down, is shown beside it where
it is installed.
"""

from __future__ import annotations

import pstats
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# (stage, part of the file's path, functions or all); the first that fits names the stage.
_RULES: Sequence[tuple[str, str, frozenset[str] | None]] = (
    ("waiting", "selectors.py", None),
    ("check inputs", "lmpipe/spec.py", frozenset({"check_inputs"})),
    ("render the prompt", "lmpipe/spec.py", frozenset({"dump", "tidy"})),
    ("validate", "lmpipe/spec.py", None),
    ("read the reply", "lmpipe/adapters/", frozenset({"read", "read_value", "_cut"})),
    ("read the reply", "lmpipe/adapters/", frozenset({"_read_fields", "_chat_markers"})),
    ("read the reply", "json_repair/", None),
    ("render the prompt", "lmpipe/adapters/", None),
    ("render the prompt", "modules/predict.py", frozenset({"dump_inputs", "ask", "of"})),
    ("check inputs", "modules/predict.py", frozenset({"_inputs"})),
    ("validate", "modules/predict.py", frozenset({"_validate"})),
    ("validate", "pydantic/", None),
    ("validate", "lmpipe/signature", None),
    ("trace", "modules/predict.py", frozenset({"_record"})),
    ("trace", "lmpipe/trace.py", None),
    ("predictor", "lmpipe/modules/", None),
    ("predictor", "lmpipe/program.py", None),
    ("predictor", "lmpipe/settings.py", None),
    ("request and key", "lmpipe/canonical.py", None),
    ("request and key", "lmpipe/lm/request.py", None),
    ("request and key", "lmpipe/lm/lm.py", None),
    ("cache", "lmpipe/lm/cache.py", None),
    ("cache", "lmpipe/lm/reply_disk.py", None),
    ("cache", "diskcache/", None),
    ("HTTP: the request's body and reply", "lmpipe/lm/providers/", None),
    ("HTTP: aiohttp", "aiohttp/", None),
    ("HTTP: aiohttp", "yarl/", None),
    ("HTTP: aiohttp", "multidict/", None),
    ("HTTP: aiohttp", "site-packages/propcache", None),
    ("runtime: coalesce, limit, retry", "lmpipe/lm/retry.py", None),
    ("runtime: coalesce, limit, retry", "lmpipe/lm/endpoint.py", None),
    ("runtime: coalesce, limit, retry", "lmpipe/lm/runtime.py", None),
    ("runtime: coalesce, limit, retry", "asyncio/locks.py", None),
    ("runtime: coalesce, limit, retry", "lmpipe/lm/", None),
    ("threads and hand-over", "lmpipe/lm/loop.py", None),
    ("threads and hand-over", "concurrent/futures", None),
    ("threads and hand-over", "threading.py", None),
    ("event loop and sockets", "asyncio/", None),
    ("evaluation and metric", "lmpipe/", None),
    ("the benchmark itself", "benchmarks/", None),
)

Function = tuple[str, int, str]


def stage_of(file: str, function: str) -> str | None:
    """The stage that a function belongs to, or None if it belongs to its caller's."""
    for stage, part, functions in _RULES:
        if part in file and (functions is None or function in functions):
            return stage
    return None


@dataclass(frozen=True)
class Profile:
    """Self times by stage and the functions that took the most, as shares of all."""

    stages: Mapping[str, float]
    functions: Sequence[tuple[str, float]]


def from_cprofile(path: Path, *, top: int = 12) -> Profile:
    """Read a cProfile dump; the time spent waiting for the server is left out."""
    stats: Mapping[Function, tuple[int, int, float, float, Mapping[Function, tuple[float, ...]]]]
    stats = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    stages: dict[str, float] = defaultdict(float)
    functions: dict[str, float] = defaultdict(float)
    shares = _Shares({function: entry[4] for function, entry in stats.items()})
    for (file, line, name), (_, _, self_time, _, _) in stats.items():
        if "epoll" in name or "kqueue" in name:
            continue
        for stage, share in shares.of((file, line, name)).items():
            stages[stage] += self_time * share
        functions[_short(file, name)] += self_time
    return _profile(stages, functions, top)


def from_raw_stacks(text: str, *, top: int = 12) -> Profile:
    """Read collapsed stacks, `outer (file:line);…;inner (file:line) count` on each line."""
    stages: dict[str, float] = defaultdict(float)
    functions: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_frame(frame) for frame in stack.split(";") if " (" in frame]
        if not frames or any("importlib" in file for file, _ in frames):
            continue
        named = (stage_of(file, name) for file, name in reversed(frames))
        stages[next(filter(None, named), "other")] += int(count)
        file, name = frames[-1]
        functions[_short(file, name)] += int(count)
    return _profile(stages, functions, top)


class _Shares:
    """How a function's time is divided among stages: its own, or those of its callers."""

    def __init__(self, callers: Mapping[Function, Mapping[Function, tuple[float, ...]]]) -> None:
        self._callers = callers
        self._known: dict[Function, Mapping[str, float]] = {}

    def of(self, function: Function) -> Mapping[str, float]:
        if function not in self._known:
            self._known[function] = {"other": 1.0}  # what a circle of callers comes to
            self._known[function] = self._work_out(function)
        return self._known[function]

    def _work_out(self, function: Function) -> Mapping[str, float]:
        if stage := stage_of(function[0], function[2]):
            return {stage: 1.0}
        weights = {caller: entry[2] for caller, entry in self._callers[function].items()}
        total = sum(weights.values())
        if not total:
            return {"other": 1.0}
        result: dict[str, float] = defaultdict(float)
        for caller, weight in weights.items():
            for stage, share in self.of(caller).items():
                result[stage] += share * weight / total
        return result


def _profile(stages: Mapping[str, float], functions: Mapping[str, float], top: int) -> Profile:
    total = sum(stages.values()) or 1.0
    order = sorted(stages.items(), key=lambda item: -item[1])
    most = sorted(functions.items(), key=lambda item: -item[1])[:top]
    return Profile(
        {stage: value / total for stage, value in order},
        [(name, value / total) for name, value in most],
    )


def _frame(text: str) -> tuple[str, str]:
    name, _, place = text.partition(" (")
    return place.rstrip(")").rpartition(":")[0], name


def _short(file: str, name: str) -> str:
    return name if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{name}"
