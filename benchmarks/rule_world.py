"""Optimizers of instructions in the rule world, beside DSPy's on the same calls; no LM is asked.

    python benchmarks/rule_world.py                       # all of it: minutes
    python benchmarks/rule_world.py --only 'gepa/*' --seeds 5
    python benchmarks/rule_world.py --side lmpipe         # keep DSPy's stored results

The student is right exactly when its instruction states the rules of the case (`rules/world.py`).
Results are kept in `results/rule_world.json`, from which the table is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from statistics import fmean, median
from typing import Any

from processes import HERE, dspy_python
from rules.side import Result, read_results
from rules.world import calls_to, score_after

from lmpipe.foundation.statistics import paired_interval

STORED = HERE / "results" / "rule_world.json"
SIDES = ("lmpipe", "dspy")
TARGET = 0.85
_TIMEOUT = 3600.0
_CHUNK = 5  # seeds in one process


@dataclass(frozen=True)
class Case:
    """One row of the table: an optimizer in a world, with a number of calls."""

    name: str
    optimizer: str
    calls: int
    world: Mapping[str, Any] = field(default_factory=dict)
    sides: tuple[str, ...] = SIDES
    settings: Mapping[str, Any] = field(default_factory=dict)


# What DSPy has no counterpart of.
_OURS = ("lmpipe",)
# The seconds that each reply takes in the rows on wall time.
_LATENCY = 0.3
_TIMED = {count: f"gepa/{count} at a time, {_LATENCY} s a reply" for count in (1, 4)}
_LONG = {"rules": 40, "rule_length": 130, "feedback": 700}

CASES = (
    *(Case(f"gepa/feedback {n}", "gepa", 1000, {"feedback": n}) for n in (100, 700, 3000)),
    Case("gepa/8 rules", "gepa", 600, {"rules": 8}),
    Case("gepa/40 rules of 130 characters", "gepa", 3000, _LONG),
    *(Case(f"gepa/noise {n}", "gepa", 1500, {"noise": n}) for n in (0.05, 0.2)),
    *(
        Case(f"gepa/start {start}", "gepa", 1000, {"start": start})
        for start in ("empty", "contradictory", "wrong")
    ),
    Case("gepa/two steps", "gepa", 3000, {"steps": 2}),
    *(Case(f"playbook/feedback {n}", "playbook", 600, {"feedback": n}, _OURS) for n in (100, 700)),
    Case("playbook/40 rules of 130 characters", "playbook", 1500, _LONG, _OURS),
    Case("playbook/noise 0.2", "playbook", 1500, {"noise": 0.2}, _OURS),
    Case("playbook/two steps", "playbook", 2000, {"steps": 2}, _OURS),
    *(
        Case(f"edit-search/{name}", "edit-search", calls, world, ("lmpipe",))
        for name, calls, world in (
            ("feedback 100", 1000, {"feedback": 100}),
            ("feedback 700", 1000, {"feedback": 700}),
            ("40 rules of 130 characters", 3000, _LONG),
            ("noise 0.05", 1500, {"noise": 0.05}),
            ("noise 0.2", 1500, {"noise": 0.2}),
            ("start empty", 1000, {"start": "empty"}),
            ("start contradictory", 1000, {"start": "contradictory"}),
            ("start wrong", 1000, {"start": "wrong"}),
            ("two steps", 3000, {"steps": 2}),
        )
    ),
    *(
        Case(
            f"gepa/useless proposals, noise {noise}",
            "gepa",
            800,
            {"noise": noise, "start": "most", "useful": False},
            ("lmpipe",),
        )
        for noise in (0.05, 0.2)
    ),
    Case("gepa/descriptions of fields too", "gepa", 1000, {}, ("lmpipe",), {"fields": True}),
    *(
        Case(name, "gepa", 1000, {}, ("lmpipe",), {"latency": _LATENCY, "proposals": count})
        for count, name in _TIMED.items()
    ),
    *(
        Case(f"{name}/feedback {n}", name, 1500, {"feedback": n})
        for name in ("copro", "mipro", "simba", "infer-rules")
        for n in (100, 700)
    ),
)


def run_case(case: Case, side: str, seeds: Sequence[int], python: Path) -> list[Result]:
    """Run the searches of one side, a few seeds in a process."""
    command = [
        python, "-m", f"rules.{side}_side", case.optimizer, f"--calls={case.calls}",
        f"--world={json.dumps(dict(case.world))}",
        f"--settings={json.dumps(dict(case.settings))}", "--seeds", *map(str, seeds),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as home:  # no caches of other runs
        environment = {
            "PYTHONPATH": f"{HERE.parent / 'compiler'}:{HERE}",
            "PATH": "/usr/bin:/bin",
            "LMPIPE_HOME": home,
            "DSPY_CACHEDIR": home,
        }
        done = subprocess.run(
            [str(word) for word in command],
            check=False,
            capture_output=True,
            text=True,
            cwd=HERE,
            env=environment,
            timeout=_TIMEOUT,
        )
    if done.returncode:
        raise SystemExit(f"{case.name}, {side}, failed:\n{done.stderr[-2000:]}")
    return read_results(json.loads(done.stdout.splitlines()[-1]))


def run_all(options: argparse.Namespace, stored: dict[str, Any]) -> None:
    """Run what is asked for, and put the results into `stored` as they come."""
    pythons = {"lmpipe": Path(sys.executable)}
    sides = [side for side in SIDES if options.side in ("both", side)]
    if "dspy" in sides:
        pythons["dspy"] = options.dspy_python or dspy_python("optuna", "gepa")
    jobs = [
        (case, side, range(first, min(first + _CHUNK, options.seeds)))
        for side in sides
        for case in CASES
        if side in case.sides and fnmatch(case.name, options.only)
        for first in range(0, options.seeds, _CHUNK)
    ]
    for case, side, _ in jobs:
        stored.setdefault(case.name, {})[side] = []

    def work(job: tuple[Case, str, range]) -> None:
        case, side, seeds = job
        found = run_case(case, side, seeds, pythons[side])
        kept = stored[case.name][side]
        kept += [asdict(result) for result in found]
        kept.sort(key=lambda result: result["seed"])
        print(f"{case.name}, {side}, seeds {seeds[0]} to {seeds[-1]}", file=sys.stderr)

    with ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(work, jobs):
            text = json.dumps(stored, sort_keys=True) + "\n"
            options.results.write_text(text, encoding="utf-8")


def table(stored: Mapping[str, Any]) -> Iterator[str]:
    """Write the table: the calls to the target, and the scores after the same calls."""
    yield (
        f"{'':38} calls to {TARGET} (median)     score on the same calls      lmpipe: validation,\n"
        f"{'':38}  lmpipe   DSPy  ratio   lmpipe   DSPy  difference   false accepts"
    )
    for case in CASES:
        found = {side: read_results(stored.get(case.name, {}).get(side, [])) for side in SIDES}
        if any(found.values()):
            yield f"{case.name:38} " + _line(found)
    times = [
        fmean(one.seconds for one in read_results(found))
        for name in _TIMED.values()
        if (found := stored.get(name, {}).get("lmpipe"))
    ]
    if len(times) == len(_TIMED):
        yield f"wall time of 4 proposals at a time against 1: {times[1] / times[0]:.2f}"


def _line(found: Mapping[str, Sequence[Result]]) -> str:
    to = {side: _median_calls(results) for side, results in found.items()}
    ratio = f"{to['lmpipe'] / to['dspy']:.2f}" if to["lmpipe"] and to["dspy"] else ""
    words = [f"{to[side] or '-':>7}" for side in SIDES] + [f"{ratio:>6}"]
    ours = {result.seed: result for result in found["lmpipe"]}
    theirs = {result.seed: result for result in found["dspy"]}
    both = sorted(ours.keys() & theirs.keys())
    pairs = [
        (score_after(ours[seed].curve, calls), score_after(theirs[seed].curve, calls))
        for seed in both
        for calls in [min(ours[seed].calls, theirs[seed].calls)]
    ]
    for results, column in ((ours, 0), (theirs, 1)):
        finals = [pair[column] for pair in pairs] or [one.final for one in results.values()]
        words.append(f"{fmean(finals):8.2f}" if finals else f"{'':8}")
    if pairs:
        interval = paired_interval([mine - other for mine, other in pairs])
        words.append(f" {interval.low:+.2f} to {interval.high:+.2f}")
    if ours:
        words.append(f"   {fmean(one.validation for one in ours.values()):.0%}")
        words.append(_false_accepts([pair for one in ours.values() for pair in one.tests]))
    return "".join(words)


def _median_calls(results: Sequence[Result]) -> int | None:
    """Return the median of the calls to the target; None if half of the searches missed it."""
    calls = [calls_to(result.curve, TARGET) or 10**9 for result in results]
    middle = median(calls) if calls else 10**9
    return round(middle) if middle < 10**9 else None


def _false_accepts(tests: Sequence[Sequence[bool]]) -> str:
    """Write the share of the proposals that are not truly better and were accepted."""
    worse = [accepted for accepted, better in tests if not better]
    return f"  {fmean(worse):.2f} of {len(worse)}" if worse else ""


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="a pattern of names, such as 'gepa/*'")
    parser.add_argument("--side", choices=(*SIDES, "both", "none"), default="both")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--dspy-python", type=Path, help="Python of an environment with DSPy")
    parser.add_argument("--results", type=Path, default=STORED, help="the file of the results")
    options = parser.parse_args()
    file: Path = options.results
    stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if options.side != "none":
        run_all(options, stored)
    print("\n".join(table(stored)))


if __name__ == "__main__":
    main()
