"""What programs do as declared, on small LMs that they were not tuned for: lmpipe beside DSPy.

    python benchmarks/first_contact.py --intents FILE --gsm8k FILE \\
        --model qwen-1.5b=FILE.gguf [--model …] [--only 'qwen-1.5b-gsm8k-*'] [--results FOLDER]
    python benchmarks/first_contact.py … --model NAME=http://127.0.0.1:8000/v1 --in-flight 64
    python benchmarks/first_contact.py --report FOLDER      # the table of existing results

Each model runs behind llama.cpp's HTTP server, or behind a server of yours where you give its
address. Both libraries reach it through a proxy that counts their calls. A program is used as
declared: no demonstrations, no compile, no settings but temperature 0 and the same limit of tokens.
`smollm2-135m` is the model that lmpipe brings along.
Each cell of the table runs in a separate process, and one that has a result is not repeated.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

from compile_cost import REPOSITORY, counting_proxy, side_environment
from compiling.meter import Meter
from contact.orders import FILE as ORDERS
from contact.tasks import SIZES, TASKS, TaskName, share
from processes import HERE, dspy_python
from results import machine

SideName = Literal["dspy", "lmpipe"]
SIDES: tuple[SideName, ...] = get_args(SideName)
DEFAULT_MODEL = "smollm2-135m"
_MINUTES = 60  # of one cell


class Benchmark:
    """One run of the benchmark.

    Args:
        options: the options of the command line.
        files: the rows of each task.
        pythons: the interpreter of each side.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        files: Mapping[TaskName, Path],
        pythons: Mapping[SideName, Path],
    ) -> None:
        self.options = options
        self.files = files
        self.pythons = pythons

    def run(self, model: str, weights: Path | str) -> None:
        """Run the cells of a model that have no result yet."""
        cells = [
            (task, side)
            for task in self.files
            for side in SIDES
            if _matches(f"{model}-{task}-{side}", self.options.only)
            and not self._out(model, task, side).exists()
        ]
        if not cells:
            return
        running = nullcontext(weights) if isinstance(weights, str) else llama_server(model, weights)
        with running as url, counting_proxy(url.removesuffix("/v1")) as proxy:
            for task, side in cells:
                self._cell(model, task, side, f"{proxy}/{task}-{side}/v1")

    def _cell(self, model: str, task: TaskName, side: SideName, url: str) -> None:
        out = self._out(model, task, side)
        part = out.with_suffix(".part")  # becomes a result once the calls are counted
        print(f"  {out.stem}", file=sys.stderr, flush=True)
        command: list[object] = [
            self.pythons[side], "-m", f"contact.{side}_side", task, "--model", model, "--url", url,
            "--file", self.files[task], "--rows", self.options.rows or SIZES[task], "--out", part,
            "--in-flight", self.options.in_flight,
        ]  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [str(word) for word in command],
                check=False,
                capture_output=True,
                text=True,
                env=side_environment(Path(folder)),
                timeout=60 * _MINUTES,
            )
        if done.returncode:
            out.with_suffix(".log").write_text(done.stdout + done.stderr, encoding="utf-8")
            print(f"  {out.stem} failed: see {out.with_suffix('.log')}", file=sys.stderr)
            return
        result = json.loads(part.read_text(encoding="utf-8"))
        spent = Meter(url).read()
        result |= {"calls": spent.calls, "refused": spent.refused}
        part.write_text(json.dumps(result, indent=1), encoding="utf-8")
        part.replace(out)

    def _out(self, model: str, task: TaskName, side: SideName) -> Path:
        folder: Path = self.options.results
        return folder / f"{model}-{task}-{side}.json"


@contextmanager
def llama_server(model: str, weights: Path) -> Iterator[str]:
    """Start llama.cpp's server in a separate process, and yield its address, up to `/v1`."""
    # Its OpenMP threads wait for each other; with the default spin, any other process on the same
    # processors makes decoding many times slower.
    environment = {**os.environ, "PYTHONPATH": str(HERE), "GOMP_SPINCOUNT": "1000"}
    process = subprocess.Popen(
        [sys.executable, "-m", "contact.llama_server", str(weights), "--name", model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit(f"the server of {weights} did not start")
        yield url
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def table(folder: Path) -> str:
    """Return the results of a folder as a Markdown table."""
    cells = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    models = sorted({stem.rsplit("-", 2)[0] for stem in cells})
    lines = [
        "| LM | task | DSPy: score | unreadable | calls | lmpipe: score | unreadable | calls |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in models:
        for task in TASKS:
            found = [cells.get(f"{model}-{task}-{side}") for side in SIDES]
            if any(found):
                shown = " | ".join(map(_shown, found))
                lines.append(f"| {model} | {task} | {shown} |")
    return "\n".join(lines)


def _shown(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return " |  | "
    rows = cell["rows"]
    score = share([row["score"] for row in rows])
    unreadable = sum(row["unreadable"] for row in rows)
    return f"{score:.2f} | {unreadable} of {len(rows)} | {cell['calls']}"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--model",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a name and a GGUF file, or the address of a server that has a model of that name",
    )
    add("--in-flight", type=int, default=4, help="how many calls are made at the same time")
    add("--intents", type=Path, help="JSONL rows with `text` and `label`")
    add("--gsm8k", type=Path, help="JSONL rows with `question` and `answer`")
    add("--rows", type=int, help="ask that many rows of each task, to try it")
    add("--only", action="append", default=[], help="a pattern of MODEL-TASK-SIDE")
    add("--dspy-python", type=Path, help="Python of an environment that has DSPy")
    add("--results", type=Path, default=HERE / "results" / "first_contact")
    add("--report", type=Path, metavar="FOLDER", help="print the table of existing results")
    add("--json", type=Path, default=HERE / "results" / "first_contact.json")
    return parser.parse_args(arguments)


def models_of(options: argparse.Namespace) -> dict[str, Path | str]:
    """Return the weights of each model to ask, or the address of its server."""
    from lmpipe.lm.embedded.default_weights import default_weights

    models: dict[str, Path | str] = {}
    for given in options.model:
        name, _, file = given.partition("=")
        if file.startswith(("http://", "https://")):
            models[name] = file
            continue
        if not Path(file).is_file():
            raise SystemExit(f"--model {given}: expected NAME=FILE.gguf, an existing file")
        models[name] = Path(file).resolve()
    return models if DEFAULT_MODEL in models else {DEFAULT_MODEL: default_weights(), **models}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.report:
        print(table(options.report))
        return
    given = {"intents7": options.intents, "gsm8k": options.gsm8k}
    files: dict[TaskName, Path] = {
        "intents7": options.intents,
        "tickets": REPOSITORY / "programs" / "data" / "tickets_test.jsonl",
        "gsm8k": options.gsm8k,
        "orders": ORDERS,
    }
    files = {task: file.resolve() for task, file in files.items() if file is not None}
    for task, file in given.items():
        if file is None:
            print(f"  without {task}: no --{task.removesuffix('7')} FILE", file=sys.stderr)
    options.results = options.results.resolve()
    options.results.mkdir(parents=True, exist_ok=True)
    pythons: dict[SideName, Path] = {
        "lmpipe": Path(sys.executable),
        "dspy": options.dspy_python or dspy_python(),
    }
    benchmark = Benchmark(options, files, pythons)
    for model, weights in models_of(options).items():
        benchmark.run(model, weights)
    print(table(options.results))
    results = {path.stem: json.loads(path.read_text()) for path in options.results.glob("*.json")}
    options.json.write_text(
        json.dumps({"machine": machine(), "cells": results}, indent=1), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
