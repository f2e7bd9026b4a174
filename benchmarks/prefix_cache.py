"""Measure the share of prompt tokens that vLLM takes from its prefix cache.

    PYTHONPATH=. python benchmarks/prefix_cache.py --url http://127.0.0.1:8000/v1 --model NAME \\
        [--banking TRAIN TEST] [--side lmpipe] [--candidates 3]

Each candidate is a task's program with 8 random labeled demonstrations per predictor. Both
libraries evaluate their candidates on the same rows. The shares come from the server's counters,
`vllm:prefix_cache_hits_total` divided by `vllm:prefix_cache_queries_total`, in tokens. For lmpipe,
the table also has the share of an ideal cache with blocks of 16 or 32 tokens that never evicts, for
the same prompts one after the other. vLLM's blocks have 16 tokens on GPUs, and 32 or more on CPUs.
Nothing else may use the server during the run. Existing results are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compile_cost import DSPY_NEEDS, REPOSITORY, counting_proxy, side_environment
from compiling.lmpipe_side import declared
from compiling.tasks import TaskName, read_rows
from processes import HERE, dspy_python

import lmpipe
from lmpipe.evaluation.evaluate import evaluate
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.optimize.shared.draw_demos import draw_demos, labeled_demos, with_demos
from lmpipe.serving import ServerMetrics, attach

DEMOS = 8
LAYOUTS = ("chat", "json")
BLOCKS = (16, 32)


class RecordingRuntime(Runtime):
    """A runtime that keeps its requests in order."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    async def acomplete(
        self, request: Request, *, label: str = "", on_text: OnText | None = None
    ) -> Reply:
        self.requests.append(request)
        return await super().acomplete(request, label=label, on_text=on_text)


def counters(url: str) -> ServerMetrics:
    """Return the counters of the server since its start."""

    async def read() -> ServerMetrics:
        return await (await attach(url)).metrics()

    return asyncio.run(read())


def shown(metrics: ServerMetrics) -> dict[str, Any]:
    return {
        "share": round(metrics.prefix_share, 4),
        "from the cache": metrics.prefix_hits,
        "prompt tokens": metrics.prefix_queries,
    }


def lmpipe_side(
    options: argparse.Namespace, task: TaskName, files: Sequence[Path], layout: str
) -> dict[str, Any]:
    """Evaluate candidates with lmpipe, and return what the server counted."""
    program, metric, examples = declared(task, read_rows(task, files))
    pools = labeled_demos(program.predictors(), examples["train"])
    lm, runtime = lmpipe.LM(f"vllm/{options.model}", base_url=options.url), RecordingRuntime()
    before = counters(options.url)
    with lmpipe.using(lm=lm, runtime=runtime):
        for number in range(options.candidates):
            rng = random.Random(number)
            demos = {
                path: draw_demos(predictor.spec, pools[path], DEMOS, rng)
                for path, predictor in program.predictors().items()
            }
            state = with_demos(program.state().map(layout=layout, constrained=True), demos)
            evaluate(program.bind(state), examples["test"], metric, lm=lm)
    runtime.close()
    found = shown(counters(options.url) - before)
    prompts = tokens_of(runtime.requests, options.url, options.model)
    return found | {f"possible, blocks of {size}": possible(prompts, size) for size in BLOCKS}


def tokens_of(requests: Sequence[Request], url: str, model: str) -> list[list[int]]:
    """Tokenize the prompts as the server does."""
    place = f"{url.removesuffix('/v1')}/tokenize"

    def tokens(request: Request) -> list[int]:
        turns = [{"role": m.role, "content": m.content} for m in request.messages]
        body = json.dumps({"model": model, "messages": turns}).encode()
        asked = urllib.request.Request(place, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            found: list[int] = json.load(answer)["tokens"]
        return found

    return [tokens(request) for request in requests]


def possible(prompts: Sequence[Sequence[int]], size: int) -> float:
    """Return the share of prompt tokens in whole blocks that earlier prompts also start with."""
    seen: set[tuple[int, ...]] = set()
    hits = 0
    for prompt in prompts:
        ends = range(size, len(prompt), size)  # vLLM always computes the last token
        starts = [tuple(prompt[:end]) for end in ends]
        known = [start in seen for start in starts]
        hits += size * (known.index(False) if False in known else len(known))
        seen.update(starts)
    return round(hits / sum(map(len, prompts)), 4)


def dspy_side(
    options: argparse.Namespace, task: TaskName, files: Sequence[Path], python: Path
) -> dict[str, Any]:
    """Evaluate candidates with DSPy, and return what the server counted."""
    before = counters(options.url)
    with counting_proxy(options.url) as proxy, tempfile.TemporaryDirectory() as folder:
        for seed in range(options.candidates):
            command = [
                python, "-m", "compiling.dspy_side", task, "labeled",
                "--url", f"{proxy}/{seed}/v1", "--model", options.model, "--seed", str(seed),
                "--out", f"{folder}/out.json", "--files", *files,
            ]  # fmt: skip
            environment = side_environment(Path(folder) / str(seed))
            subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    return shown(counters(options.url) - before)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--url", required=True, help="URL of a vLLM server, up to /v1")
    add("--model", required=True, help="name of the model at the server")
    add("--candidates", type=int, default=3)
    add(
        "--banking",
        type=Path,
        nargs=2,
        metavar=("TRAIN", "TEST"),
        help="JSONL files with `text` and `label`",
    )
    add("--no-tickets", action="store_true")
    add("--side", choices=("lmpipe", "dspy"), help="measure only this side")
    add("--dspy-python", type=Path, help="Python of an environment that has DSPy")
    add("--json", type=Path, default=HERE / "results" / "prefix_cache.json")
    options = parser.parse_args()
    tasks: dict[TaskName, list[Path]] = {}
    if not options.no_tickets:
        tasks["tickets"] = [REPOSITORY / "programs" / "data"]
    if options.banking:
        tasks["banking77"] = [path.resolve() for path in options.banking]
    found: dict[str, dict[str, Any]] = {}
    if options.json.exists():
        found = json.loads(options.json.read_text(encoding="utf-8"))
    for task, files in tasks.items():
        if options.side != "dspy":
            for layout in LAYOUTS:
                found[f"{task}, lmpipe, {layout}"] = lmpipe_side(options, task, files, layout)
        if options.side != "lmpipe":
            python = options.dspy_python or dspy_python(*DSPY_NEEDS)
            found[f"{task}, DSPy 3.4.1"] = dspy_side(options, task, files, python)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("| | prompt tokens | share | possible: blocks of 16 | of 32 |\n|---|---|---|---|---|")
    for name, line in found.items():
        ideal = [line.get(f"possible, blocks of {size}", "") for size in BLOCKS]
        print(
            f"| {name} | {line['prompt tokens']:,.0f} | {line['share']} | {ideal[0]} | {ideal[1]} |"
        )


if __name__ == "__main__":
    main()
