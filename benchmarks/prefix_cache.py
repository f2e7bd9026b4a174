"""How much of the prompts vLLM has in its prefix cache while candidates are evaluated.

    python benchmarks/prefix_cache.py --url http://127.0.0.1:8000/v1 --model NAME [--candidates 3]

Candidates are the tickets program with 8 labeled demonstrations for each predictor, drawn anew for
each; both libraries evaluate theirs on the same 100 rows. The shares are those of the server's own
counters, `vllm:prefix_cache_hits_total` over `vllm:prefix_cache_queries_total`, in tokens. Nobody
else may ask the server meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from compile_cost import DSPY_NEEDS, REPOSITORY, counting_proxy, side_environment
from processes import HERE, dspy_python

import lmpipe
from lmpipe.evaluation import evaluate
from lmpipe.lm.runtime import Runtime
from lmpipe.optimize.demos import draw, labeled_demos, with_demos
from lmpipe.recipe import prepare
from lmpipe.recipe_file import load_recipe
from lmpipe.serving import ServerMetrics, attach

DEMOS = 8
DATA = REPOSITORY / "programs" / "data"


def counters(url: str) -> ServerMetrics:
    """What the server has counted since it started."""

    async def read() -> ServerMetrics:
        return await (await attach(url)).metrics()

    return asyncio.run(read())


def lmpipe_side(url: str, model: str, candidates: int, layout: str) -> ServerMetrics:
    """Evaluate candidates with lmpipe; what the server counted meanwhile."""
    ready = prepare(load_recipe(str(REPOSITORY / "programs" / "tickets.py")))
    program, before = ready.recipe.program, counters(url)
    pools = labeled_demos(program.predictors(), ready.train)
    lm, runtime = lmpipe.LM(f"vllm/{model}", base_url=url), Runtime()
    with lmpipe.using(lm=lm, runtime=runtime):
        for number in range(candidates):
            rng = random.Random(number)
            demos = {
                path: draw(predictor.spec, pools[path], DEMOS, rng)
                for path, predictor in program.predictors().items()
            }
            state = with_demos(program.state().map(layout=layout, constrained=True), demos)
            evaluate(program.bind(state), ready.test, ready.recipe.metric, lm=lm)
    runtime.close()
    return counters(url) - before


def dspy_side(url: str, model: str, candidates: int, python: Path) -> ServerMetrics:
    """Evaluate candidates with DSPy; what the server counted meanwhile."""
    before = counters(url)
    with counting_proxy(url) as proxy, tempfile.TemporaryDirectory() as folder:
        for seed in range(candidates):
            command = [
                python, "-m", "compiling.dspy_side", "tickets", "labeled",
                "--url", f"{proxy}/{seed}/v1", "--model", model, "--seed", str(seed),
                "--out", f"{folder}/out.json", "--files", DATA,
            ]  # fmt: skip
            environment = side_environment(Path(folder) / str(seed))
            subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    return counters(url) - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True, help="of a vLLM server, up to /v1")
    parser.add_argument("--model", required=True, help="as the server calls it")
    parser.add_argument("--candidates", type=int, default=3)
    parser.add_argument("--dspy-python", type=Path, help="of an environment that has DSPy")
    parser.add_argument("--no-dspy", action="store_true")
    parser.add_argument("--json", type=Path, default=HERE / "results" / "prefix_cache.json")
    options = parser.parse_args()
    found: dict[str, ServerMetrics] = {}
    for layout in ("chat", "json"):
        found[f"lmpipe, {layout}"] = lmpipe_side(
            options.url, options.model, options.candidates, layout
        )
    if not options.no_dspy:
        python = options.dspy_python or dspy_python(*DSPY_NEEDS)
        found["DSPy 3.4.1"] = dspy_side(options.url, options.model, options.candidates, python)
    shown = {
        name: {
            "share": round(metrics.prefix_share, 4),
            "from the cache": metrics.prefix_hits,
            "prompt tokens": metrics.prefix_queries,
        }
        for name, metrics in found.items()
    }
    print("| | prompt tokens | from the cache | share |\n|---|---|---|---|")
    for name, line in shown.items():
        tokens, hits = line["prompt tokens"], line["from the cache"]
        print(f"| {name} | {tokens:,.0f} | {hits:,.0f} | {line['share']:.3f} |")
    options.json.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
