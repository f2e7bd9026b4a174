"""The CPU time of a call by stage: self times of a profile, assigned by file and function.

Functions without a stage (built-ins, `re`, `contextlib`) count for their callers. Shares are scaled
to the CPU time of a call without a profiler. cProfile overstates small functions, because it slows
them down most; py-spy slows nothing down, and is used too if it is installed.
"""

from __future__ import annotations

import pstats
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import HERE, Sides

# (stage, part of the file's path, functions or None for all); the first match applies.
_RULES: Sequence[tuple[str, str, frozenset[str] | None]] = (
    ("waiting", "selectors.py", None),
    ("check inputs", "signatures/signature_spec.py", frozenset({"check_inputs", "_check_input"})),
    ("render the prompt", "signatures/signature_spec.py", frozenset({"dump", "normalize"})),
    ("validate", "signatures/", None),
    ("read the reply", "lmpipe/layouts/", frozenset({"read", "read_value", "_cut_form"})),
    ("read the reply", "lmpipe/layouts/", frozenset({"read_texts", "read_text", "trim"})),
    ("read the reply", "json_repair/", None),
    ("render the prompt", "lmpipe/layouts/", None),
    ("render the prompt", "modules/prompt.py", None),
    ("check inputs", "modules/predict.py", frozenset({"_inputs"})),
    ("validate", "modules/predict.py", frozenset({"_validate"})),
    ("validate", "pydantic/", None),
    ("trace", "modules/predict.py", frozenset({"_record"})),
    ("trace", "lmpipe/state/trace.py", None),
    ("predictor", "lmpipe/modules/", None),
    ("predictor", "lmpipe/state/", None),
    ("predictor", "lmpipe/settings.py", None),
    ("request and key", "lmpipe/foundation/canonical_json.py", None),
    ("request and key", "lmpipe/lm/request.py", None),
    ("request and key", "lmpipe/lm/cache_key.py", None),
    ("request and key", "lmpipe/lm/message.py", None),
    ("request and key", "lmpipe/lm/lm.py", None),
    ("cache", "lmpipe/lm/cache/", None),
    ("cache", "diskcache/", None),
    ("HTTP: the client", "lmpipe/lm/http/", None),
    ("HTTP: the request's body and reply", "lmpipe/lm/providers/", None),
    ("HTTP: aiohttp", "aiohttp/", None),
    ("HTTP: aiohttp", "yarl/", None),
    ("HTTP: aiohttp", "multidict/", None),
    ("HTTP: aiohttp", "site-packages/propcache", None),
    ("threads and hand-over", "lmpipe/lm/concurrency/", None),
    ("threads and hand-over", "concurrent/futures", None),
    ("threads and hand-over", "threading.py", None),
    ("runtime: coalesce, limit, retry", "lmpipe/lm/", None),
    ("runtime: coalesce, limit, retry", "asyncio/locks.py", None),
    ("event loop and sockets", "asyncio/", None),
    ("evaluation and metric", "lmpipe/", None),
    ("the benchmark itself", "benchmarks/", None),
)

Function = tuple[str, int, str]


def stage_of(file: str, function: str) -> str | None:
    """The stage of a function; None if its time counts for its callers."""
    for stage, part, functions in _RULES:
        if part in file and (functions is None or function in functions):
            return stage
    return None


@dataclass(frozen=True)
class Profile:
    """Self times by stage and of the most expensive functions, as shares of the total.

    Args:
        stages: The share of each stage.
        functions: The share of each of these functions.
        microseconds: The CPU time of one call without a profiler.
    """

    stages: Mapping[str, float]
    functions: Sequence[tuple[str, float]]
    microseconds: float = 0.0


def profile_calls(sides: Sides, url: str, *, calls: int) -> dict[str, Profile]:
    """Profile lmpipe's calls, cached and uncached, with cProfile and, if installed, py-spy."""
    lmpipe = _Scenes(sides, url, calls)
    found = {
        "uncached, 64 in flight, by cProfile": lmpipe.by_cprofile("uncached"),
        "cached, by cProfile": lmpipe.by_cprofile("cached"),
    }
    beside = Path(sys.executable).with_name("py-spy")
    spy = str(beside) if beside.exists() else shutil.which("py-spy")
    if spy:
        found |= {
            "uncached, 64 in flight, by py-spy": lmpipe.by_py_spy(spy, "batch"),
            "uncached, from the caller's own loop, by py-spy": lmpipe.by_py_spy(spy, "async"),
            "cached, by py-spy": lmpipe.by_py_spy(spy, "cached-sync"),
        }
    return {name: profile for name, profile in found.items() if profile.stages}


def print_profile(profiles: Mapping[str, Profile]) -> None:
    """Print each profile: stages first, then functions."""
    for name, profile in profiles.items():
        print(f"\nlmpipe, {name}: {profile.microseconds:.0f} µs of CPU a call")
        for stage, share in profile.stages.items():
            print(f"  {share * profile.microseconds:6.1f} µs {share:6.1%}  {stage}")
        print("  the most expensive functions by self time:")
        for function, share in profile.functions:
            print(f"  {share * profile.microseconds:6.1f} µs {share:6.1%}  {function}")


class _Scenes:
    """Profiles calls.

    Args:
        sides: Starts the processes.
        url: The stub server's address.
        calls: The number of calls.
    """

    def __init__(self, sides: Sides, url: str, calls: int) -> None:
        self._sides = sides
        self._cache = sides.folder / "profile-cache"
        self._options = ["--url", url, "--calls", str(calls)]
        self._sides.run("lmpipe", "fill", *self._with_cache(64))
        self._cpu = {name: self._cpu_of(name) for name in ("batch", "async", "cached-sync")}

    def by_cprofile(self, scene: str) -> Profile:
        out = self._sides.folder / f"{scene}.prof"
        script = HERE / "sides" / "lmpipe_profile.py"
        cached = ["--cache", str(self._cache)] if scene == "cached" else []
        self._run([script, scene, *self._options, *cached, "--out", out])
        return from_cprofile(out, self._cpu["cached-sync" if scene == "cached" else "batch"])

    def by_py_spy(self, spy: str, command: str) -> Profile:
        out = self._sides.folder / f"{command}.raw"
        script = HERE / "sides" / "lmpipe_side.py"
        options = self._options_of(command)
        record = [spy, "record", "--format", "raw", "--rate", "500", "--output", out, "--"]
        self._run([script, command, *options], record)
        text = out.read_text(encoding="utf-8") if out.exists() else ""
        return from_raw_stacks(text, self._cpu[command])

    def _cpu_of(self, command: str) -> float:
        done = self._sides.run("lmpipe", command, *self._options_of(command))
        prefix = "warm_" if command == "cached-sync" else ""
        share, rate = done[f"{prefix}cpu_share"], done[f"{prefix}per_second"]
        return 1e6 * float(share) / float(rate)

    def _options_of(self, command: str) -> list[str]:
        if command == "cached-sync":
            return self._with_cache(1)
        return [*self._options, "--in-flight", "64"]

    def _with_cache(self, in_flight: int) -> list[str]:
        return [*self._options, "--in-flight", str(in_flight), "--cache", str(self._cache)]

    def _run(self, script: Sequence[object], before: Sequence[object] = ()) -> None:
        words = [str(word) for word in (*before, self._sides.pythons["lmpipe"], *script)]
        environment = self._sides.environment("lmpipe")
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{words[0]} failed: {done.stderr[-500:]}", file=sys.stderr)


def from_cprofile(path: Path, microseconds: float, *, top: int = 12) -> Profile:
    """Read a cProfile dump. The time spent waiting for the server is left out."""
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
    return _profile(stages, functions, microseconds, top)


def from_raw_stacks(text: str, microseconds: float, *, top: int = 12) -> Profile:
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
    return _profile(stages, functions, microseconds, top)


class _Shares:
    """Divides a function's time among stages: its own stage, or those of its callers."""

    def __init__(self, callers: Mapping[Function, Mapping[Function, tuple[float, ...]]]) -> None:
        self._callers = callers
        self._known: dict[Function, Mapping[str, float]] = {}

    def of(self, function: Function) -> Mapping[str, float]:
        if function not in self._known:
            self._known[function] = {"other": 1.0}  # for a cycle of callers
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


def _profile(
    stages: Mapping[str, float], functions: Mapping[str, float], microseconds: float, top: int
) -> Profile:
    total = sum(stages.values()) or 1.0
    order = sorted(stages.items(), key=lambda item: -item[1])
    most = sorted(functions.items(), key=lambda item: -item[1])[:top]
    return Profile(
        {stage: value / total for stage, value in order},
        [(name, value / total) for name, value in most],
        microseconds,
    )


def _frame(text: str) -> tuple[str, str]:
    name, _, place = text.partition(" (")
    return place.rstrip(")").rpartition(":")[0], name


def _short(file: str, name: str) -> str:
    return name if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{name}"
