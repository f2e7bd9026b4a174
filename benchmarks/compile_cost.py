"""Compare the cost and the result of compiles by lmpipe and by DSPy, with one server.

    python benchmarks/compile_cost.py --url http://127.0.0.1:8000/v1 --model NAME \\
        [--intents FILE] [--banking TRAIN TEST] [--seeds 0 1] [--only '*-intents7-knn'] \\
        [--minutes 30] [--results FOLDER]
    python benchmarks/compile_cost.py --report FOLDER       # the table of existing results

The server (vLLM with `--enable-prompt-tokens-details`, or any OpenAI-compatible one) is reached
through a proxy that counts calls. Each compile runs in its own process, one after the other, and
writes its result to the folder at once. A compile whose result is done is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compiling.jobs import Compile, chosen
from compiling.meter import Meter
from compiling.plot import plot
from compiling.report import lines_of, read_result, read_results, table, write_json
from compiling.side import Result
from compiling.tasks import TaskName
from processes import HERE, dspy_python
from results import machine

REPOSITORY = HERE.parent
DSPY_NEEDS = ("optuna", "gepa")


class Benchmark:
    """One run of the benchmark.

    Args:
        options: The command line's options.
        pythons: The interpreter of each side.
        proxy: The address of the counting proxy.
        files: The data files of each task.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        pythons: Mapping[str, Path],
        proxy: str,
        files: Mapping[TaskName, Sequence[Path]],
    ) -> None:
        self.options = options
        self.pythons = pythons
        self.proxy = proxy
        self.files = files

    def run(self, one: Compile, seed: int) -> None:
        """Run one compile, unless its result is done."""
        name = f"{one.name}-{seed}"
        out: Path = self.options.results / f"{name}.json"
        if out.exists() and read_result(out).status == "done":
            return
        settings = dict(one.settings)
        if one.quarter_of:
            other = self._counterpart(one.quarter_of, seed)
            if other is None:
                _say(f"{name}: skipped, because {one.quarter_of} has no result")
                return
            settings["calls"] = other.search.calls // 4
        _say(name)
        url = f"{self.proxy}/{name}/v1"
        command: list[object] = [
            self.pythons[one.side], "-m", f"compiling.{one.side}_side", one.task, one.optimizer,
            "--url", url, "--model", self.options.model, "--seed", seed,
            "--settings", json.dumps(settings), "--out", out,
            "--files", *self.files[one.task],
        ]  # fmt: skip
        before = Meter(url).read()
        out.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            limit = 60 * self.options.minutes
            done = _run(command, side_environment(Path(folder)), limit, out.with_suffix(".log"))
        if done is None:
            result = read_result(out)
            result.search = Meter(url).read() - before
            result.status = f"not finished in {self.options.minutes} minutes"
            out.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
        elif done:
            _say(f"{name} ended with exit status {done}; see {out.with_suffix('.log')}")

    def _counterpart(self, name: str, seed: int) -> Result | None:
        """The result of another compile, with this seed or else with seed 0."""
        paths = [self.options.results / f"{name}-{number}.json" for number in (seed, 0)]
        return next((read_result(path) for path in paths if path.exists()), None)


def side_environment(folder: Path) -> dict[str, str]:
    """The environment variables of a side: the lmpipe of this checkout, not the user's caches.

    Args:
        folder: The folder for the caches.
    """
    paths = (HERE, REPOSITORY / "compiler", REPOSITORY)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DSPY_CACHEDIR": str(folder / "dspy"),
        "LMPIPE_HOME": str(folder / "lmpipe"),
    }


def _run(
    command: Sequence[object], environment: Mapping[str, str], limit: float, log: Path
) -> int | None:
    """Run a process; returns its exit status, or None if it was stopped at the time limit."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        try:
            return subprocess.run(
                [str(word) for word in command],
                check=False,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                timeout=limit,
            ).returncode
        except subprocess.TimeoutExpired:
            return None


@contextmanager
def counting_proxy(url: str) -> Iterator[str]:
    """Run a counting proxy for a server in its own process; yields the proxy's address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "compiling.proxy", url],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise SystemExit("the proxy did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()


def report(folder: Path, json_path: Path, about: Mapping[str, Any]) -> None:
    """Print the table of a folder of results; write the JSON and the plot."""
    results = read_results(folder.glob("*.json"))
    print(table(lines_of(results)))
    write_json(json_path, results, about)
    json_path.with_suffix(".svg").write_text(plot(results), encoding="utf-8")
    print(f"\nwrote all compiles to {json_path}, the curves to {json_path.with_suffix('.svg')}")


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--url", help="the server's address, up to /v1")
    add("--model", default="smol", help="its name at the server")
    add("--intents", type=Path, help="JSONL rows with `text` and `label`, for intents7")
    add("--banking", type=Path, nargs=2, metavar=("TRAIN", "TEST"), help="the same for banking77")
    add("--no-tickets", action="store_true")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--only", action="append", default=[], help="a pattern of SIDE-TASK-OPTIMIZER")
    add("--minutes", type=float, default=60.0, help="the time limit of one compile")
    add(
        "--dspy-python",
        type=Path,
        help="the interpreter of an environment with DSPy, optuna and gepa",
    )
    add("--results", type=Path, default=HERE / "results" / "compile_cost")
    add("--report", type=Path, metavar="FOLDER", help="report the results in a folder; run nothing")
    add("--note", default="", help="a note on this run, for the JSON")
    add("--json", type=Path, default=HERE / "results" / "compile_cost.json")
    return parser.parse_args(arguments)


def data_files(options: argparse.Namespace) -> dict[TaskName, Sequence[Path]]:
    """The data files of the selected tasks."""
    files: dict[TaskName, Sequence[Path]] = {}
    if options.intents:
        files["intents7"] = [options.intents.resolve()]
    if not options.no_tickets:
        files["tickets"] = [REPOSITORY / "programs" / "data"]
    if options.banking:
        files["banking77"] = [path.resolve() for path in options.banking]
    return files


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    about = {"machine": machine(), "note": options.note}
    if options.report:
        report(options.report, options.json, about)
        return
    if not options.url:
        raise SystemExit("give the server's --url, or --report a folder of results")
    files = data_files(options)
    plan = chosen(options.only, list(files))
    pythons = {"lmpipe": Path(sys.executable)}
    if any(one.side == "dspy" for one in plan):
        pythons["dspy"] = options.dspy_python or dspy_python(*DSPY_NEEDS)
    with counting_proxy(options.url) as proxy:
        benchmark = Benchmark(options, pythons, proxy, files)
        for seed in options.seeds:
            for one in plan:
                benchmark.run(one, seed)
    report(options.results, options.json, about)


if __name__ == "__main__":
    main()
