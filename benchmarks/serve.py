"""Measure `lmpipe serve` beside a bare server that calls the same program directly.

    python benchmarks/serve.py [--requests 5000] [--in-flight 64] [--rounds 3] [--bare starlette]

Each side runs in its own process, one after the other, on the same stub LM and without a cache;
the order is reversed from round to round. In the middle of each round of lmpipe's, an operator
swaps another run in. Every answer is checked: none may be lost or wrong, and none that began after
the swap may come from the run before. The ratio is that of the medians; the one by CPU time of the
server's process depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from processes import HERE, stub_server

_OPERATOR = "key-of-the-operator"
_GOAL = 0.8

PROGRAM = """
import os
import lmpipe
from lmpipe.metrics import exact_match

class Capital(lmpipe.Signature):
    '''Answer the question with a short fact.'''
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()

def examples(start, count):
    rows = (
        lmpipe.Example(
            question=f"What is the capital of country number {number:07d}?",
            answer=f"City {number:07d}",
        )
        for number in range(start, start + count)
    )
    return [row.with_inputs("question") for row in rows]

recipe = lmpipe.Recipe(
    program=lmpipe.ChainOfThought(Capital),
    train=examples(0, 8),
    val=examples(100, 8),
    metric=exact_match("answer"),
    optimizer=lmpipe.LabeledFewShot(),
    student=lmpipe.LM("openai/stub", base_url=os.environ["STUB_URL"], api_key="x"),
)
"""


@dataclass(frozen=True)
class Round:
    """One round of a side.

    Args:
        seconds: wall time of all requests.
        cpu_seconds: CPU time of the server's process in it.
        runs: the answers by the run that gave them.
        failed: the requests that had no right answer.
        late: the answers of the run before to requests that began after the swap.
    """

    seconds: float
    cpu_seconds: float
    runs: Mapping[str, int]
    failed: int
    late: int


@contextmanager
def server(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> Iterator[Any]:
    """Start a server that prints its address; yields the process and the address."""
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, env=dict(env)
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip().startswith("http://"):
                    yield process, line.strip()
                    break
            else:
                raise SystemExit(f"no server: {(folder / 'server.log').read_text()[-2000:]}")
        finally:
            process.terminate()
            process.communicate(timeout=60)


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(url: str, pid: int, options: argparse.Namespace, swap: str | None) -> Round:
    """Send all requests, and check all answers."""
    numbers = iter(range(1_000_000, 1_000_000 + options.requests))
    runs: dict[str, int] = {}
    failed = late = 0
    half = 1_000_000 + options.requests // 2
    swapped = swap is None

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def put(run: str) -> None:
            nonlocal swapped
            body, key = {"runs": [{"run": run}]}, {"authorization": f"Bearer {_OPERATOR}"}
            async with session.put(f"{url}/runs", json=body, headers=key) as response:
                assert response.status == 200, await response.text()
            swapped = True

        async def work() -> None:
            nonlocal failed, late
            for number in numbers:
                if swap is not None and number == half:
                    await put(swap)
                after = swapped and swap is not None
                question = f"What is the capital of country number {number:07d}?"
                async with session.post(url, json={"question": question}) as response:
                    answer = await response.json()
                    run = response.headers.get("lmpipe-run", "")
                if response.status != 200 or answer.get("answer") != f"City {number:07d}":
                    failed += 1
                runs[run] = runs.get(run, 0) + 1
                late += after and run != swap

        began, cpu = time.perf_counter(), cpu_seconds(pid)
        await asyncio.gather(*(work() for _ in range(options.in_flight)))
        seconds, cpu = time.perf_counter() - began, cpu_seconds(pid) - cpu
    return Round(seconds, cpu, runs, failed, late)


def compile_two(folder: Path, env: Mapping[str, str]) -> list[str]:
    """Compile the program twice; returns the names of the run folders."""
    (folder / "capitals.py").write_text(PROGRAM)
    for seed in ("0", "1"):
        command = [sys.executable, "-m", "lmpipe", "compile", "capitals.py", "--seed", seed]
        subprocess.run(command, cwd=folder, env=dict(env), check=True, stdout=subprocess.DEVNULL)
    return sorted(run.name for run in (folder / "runs").iterdir())


def measure(options: argparse.Namespace) -> dict[str, list[Round]]:
    rounds: dict[str, list[Round]] = {"lmpipe": [], options.bare: []}
    with stub_server() as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {
            **os.environ,
            "STUB_URL": url,
            "LMPIPE_HOME": str(folder / "home"),
            "LMPIPE_SERVE_ADMIN_KEYS": _OPERATOR,
        }
        first, second = compile_two(folder, env)
        python = sys.executable
        serve = [python, "-m", "lmpipe", "serve", f"runs/{first}", "--trust"]
        serve += ["--port", "0", "--no-cache"]
        bare = [python, str(HERE / "sides" / "bare_server.py"), "capitals.py", f"runs/{first}"]
        bare.append(options.bare)
        for number in range(options.rounds):
            sides = list(rounds)
            for side in sides if number % 2 == 0 else reversed(sides):
                print(f"  round {number + 1}, {side}", file=sys.stderr, flush=True)
                ours = side == "lmpipe"
                with server(serve if ours else bare, folder, env) as (process, address):
                    path = "/v1/programs/capitals"
                    target = address.removesuffix("/docs") + path if ours else address
                    warm = argparse.Namespace(requests=200, in_flight=options.in_flight)
                    asyncio.run(load(target, process.pid, warm, None))
                    swap = second if ours else None
                    rounds[side].append(asyncio.run(load(target, process.pid, options, swap)))
    return rounds


def report(rounds: Mapping[str, Sequence[Round]], options: argparse.Namespace) -> bool:
    """Print the figures; returns whether the goal is reached."""
    bare = options.bare
    rate = {
        side: statistics.median(options.requests / item.seconds for item in items)
        for side, items in rounds.items()
    }
    cpu = {
        side: statistics.median(item.cpu_seconds / options.requests for item in items)
        for side, items in rounds.items()
    }
    for side in rounds:
        print(f"{side:10} {rate[side]:8.0f} requests/s   {cpu[side] * 1e3:6.3f} ms CPU a request")
    ratio, by_cpu = rate["lmpipe"] / rate[bare], cpu[bare] / cpu["lmpipe"]
    print(f"{'ratio':10} {ratio:8.2f} (by CPU {by_cpu:.2f}; goal {_GOAL})")
    failed = sum(item.failed for items in rounds.values() for item in items)
    late = sum(item.late for item in rounds["lmpipe"])
    both = all(len(item.runs) == 2 for item in rounds["lmpipe"])
    answered = sum(sum(item.runs.values()) for item in rounds["lmpipe"])
    print(
        f"{answered:,} answers of lmpipe serve, {failed} lost or wrong, {late} of the run before "
        f"after a swap; both runs answered in each round: {both}"
    )
    if options.json:
        result = {
            "requests": options.requests,
            "in_flight": options.in_flight,
            "ratio": ratio,
            "ratio_by_cpu": by_cpu,
            "rounds": {side: [asdict(item) for item in items] for side, items in rounds.items()},
        }
        options.json.write_text(json.dumps(result, indent=2))
    return ratio >= _GOAL and not failed and not late and both


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bare", choices=["fastapi", "starlette"], default="fastapi")
    parser.add_argument("--json", type=Path, help="write the rounds to this file")
    options = parser.parse_args(arguments)
    return 0 if report(measure(options), options) else 1


if __name__ == "__main__":
    sys.exit(main())
