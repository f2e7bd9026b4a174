"""Measure the overhead of lmpipe per call beside that of DSPy, with one stub server.

    python benchmarks/overhead.py [--rounds 5] [--quick] [--only 'cached*'] [--no-dspy] [--profile]

Each figure is the median over rounds. In each round every side runs in its own process, one after
the other, and the order is reversed from round to round. The limit is what the bare minimum reaches
on the same machine: sockets for calls, diskcache for cached calls, `import pydantic` for imports.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from import_cost import measure_imports
from plan import MEASUREMENTS, Measurement, SideName, chosen, quick
from processes import HERE, Sides, dspy_python, stub_server
from results import Round, Row, import_rows, print_table, rows_of, write_json
from stages import print_profile, profile_calls

ENGINES = ("lm15", "litellm")
_FEW, _MANY = 8, (64, 256)  # threads


@dataclass(frozen=True)
class Choice:
    """DSPy's fastest settings, and calls per second of all that were tried."""

    engine: str
    threads: int
    tried: dict[str, float]


class Benchmark:
    """One run of the benchmark.

    Args:
        sides: Starts the processes.
        url: The stub server's address.
        rounds: The number of rounds.
        trial_calls: The number of calls per trial of DSPy's settings.
    """

    def __init__(self, sides: Sides, url: str, *, rounds: int, trial_calls: int) -> None:
        self.sides = sides
        self.url = url
        self.rounds = rounds
        self.trial_calls = trial_calls
        self.details: dict[str, Any] = {}
        self._engines: dict[str, dict[str, float]] = {}
        self._choices: dict[tuple[str, int], Choice] = {}
        self._filled: set[tuple[Path, int]] = set()

    def measure(self, measurement: Measurement) -> list[Row]:
        """Run every side in turn; returns the medians."""
        sides = [name for name in measurement.sides if name in self.sides.pythons]
        rounds: dict[SideName, list[Round]] = {name: [] for name in sides}
        options = {name: self._options(measurement, name) for name in sides}
        for number in range(1 if measurement.once else self.rounds):
            for name in sides if number % 2 == 0 else reversed(sides):
                _say(f"{measurement.name}: round {number + 1}, {name}")
                command = measurement.command_of(name)
                rounds[name].append(self.sides.run(name, command, *options[name]))
        self.details[measurement.name] = {**asdict(measurement), "rounds": rounds}
        return rows_of(measurement, rounds)

    def _options(self, measurement: Measurement, side: SideName) -> list[object]:
        options: list[object] = ["--calls", measurement.calls]
        if measurement.command != "memory":
            options += ["--url", self.url]
        if measurement.demos:
            options.append("--demos")
        folder = self.sides.folder / f"{side}-cache"
        if side == "dspy":
            choice = self._choice(measurement)
            options += ["--engine", choice.engine, "--threads", choice.threads]
            folder = folder / choice.engine  # each engine has its own entries
        elif side not in ("lmpipe", "from_dspy"):
            options += ["--engine", side]
        if measurement.cached:
            options += ["--cache", folder]
            self._fill(side, folder, measurement.calls, options)
        return [*options, "--in-flight", measurement.in_flight]

    def _fill(self, side: SideName, folder: Path, calls: int, options: Sequence[object]) -> None:
        """Fill a side's cache once, including the rows for warming up."""
        if (folder, calls) not in self._filled:
            _say(f"filling {side}'s cache")
            self.sides.run(side, "fill", *options, "--in-flight", 64)
            self._filled.add((folder, calls))

    def _choice(self, measurement: Measurement) -> Choice:
        """Find DSPy's fastest engine and number of threads for a kind of work by short trials."""
        kind = "async" if "async" in measurement.command else "sync"
        key = (kind, measurement.in_flight)
        if key not in self._choices:
            choice = self._choices[key] = self._find_fastest(kind, measurement.in_flight)
            self.details.setdefault("dspy_settings", {})[f"{kind}-{key[1]}"] = asdict(choice)
        return self._choices[key]

    def _find_fastest(self, kind: str, in_flight: int) -> Choice:
        if kind not in self._engines:
            self._engines[kind] = {name: self._rate(kind, 64, name, _FEW) for name in ENGINES}
        engines = self._engines[kind]
        engine = max(engines, key=lambda name: engines[name])
        tried = {f"{name}, {_FEW} threads, 64 in flight": rate for name, rate in engines.items()}
        if kind == "async" or in_flight == 1:
            return Choice(engine, _FEW, tried)
        threads = {
            count: self._rate(kind, in_flight, engine, count)
            for count in (_FEW, *_MANY)
            if count <= in_flight
        }
        tried |= {f"{engine}, {count} threads": rate for count, rate in threads.items()}
        return Choice(engine, max(threads, key=lambda count: threads[count]), tried)

    def _rate(self, kind: str, in_flight: int, engine: str, threads: int) -> float:
        """DSPy's calls per second in the better of two short trials."""
        _say(f"trying DSPy, {kind}, {in_flight} in flight: {engine}, {threads} threads")
        options = ("--url", self.url, "--in-flight", in_flight, "--calls", self.trial_calls)
        more = ("--engine", engine, "--threads", threads)
        done = [self.sides.run("dspy", kind, *options, *more) for _ in range(2)]
        return max(float(one["per_second"]) for one in done)


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join([*(measurement.name for measurement in MEASUREMENTS), "import"])
    parser.add_argument("--rounds", type=int, help="5 by default, 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="fewer calls, for a trial run")
    parser.add_argument(
        "--only", action="append", default=[], help=f"a pattern of these names: {names}"
    )
    parser.add_argument("--no-dspy", action="store_true", help="measure only lmpipe and the limits")
    parser.add_argument(
        "--dspy-python", type=Path, help="the interpreter of an environment with DSPy"
    )
    parser.add_argument("--calls", type=int, help="calls per measurement")
    parser.add_argument(
        "--source",
        type=Path,
        default=HERE.parent / "compiler",
        help="the compiler/ folder of another checkout",
    )
    parser.add_argument("--profile", action="store_true", help="also print CPU time by stage")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "overhead.json")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rounds = options.rounds or (2 if options.quick else 5)
    python = Path(sys.executable)
    pythons: dict[SideName, Path] = dict.fromkeys(get_args(SideName), python)
    del pythons["dspy"]
    if not options.no_dspy:
        pythons["dspy"] = options.dspy_python or dspy_python()
    plan = [quick(one) for one in MEASUREMENTS] if options.quick else list(MEASUREMENTS)
    if options.calls:
        plan = [replace(one, calls=options.calls) for one in plan]
    rows: list[Row] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder, stub_server() as url:
        sides = Sides(pythons, Path(folder), options.source.resolve())
        trial_calls = 100 if options.quick else 300
        benchmark = Benchmark(sides, url, rounds=rounds, trial_calls=trial_calls)
        for measurement in chosen(options.only, plan):
            try:
                rows += benchmark.measure(measurement)
            except SystemExit as error:  # the others are worth having
                failed.append(f"{measurement.name}: {error}")
        if chosen(options.only, [Measurement("import", "import", ())]):
            _say("import: fresh processes")
            costs = measure_imports(sides, 3 * rounds)
            benchmark.details["import"] = {name: asdict(cost) for name, cost in costs.items()}
            rows += import_rows(costs)
        if rows:
            print_table(rows)
        if options.profile:
            profiles = profile_calls(
                sides, url, calls=options.calls or (400 if options.quick else 4000)
            )
            benchmark.details["profile"] = {name: asdict(one) for name, one in profiles.items()}
            print_profile(profiles)
    write_json(options.json, rows, {"rounds": rounds, "measurements": benchmark.details})
    print(f"\nwrote all rounds to {options.json}")
    if failed:
        raise SystemExit("\n".join(["these measurements failed:", *failed]))


if __name__ == "__main__":
    main()
