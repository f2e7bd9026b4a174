"""The parts that all sides share: rows, loops, clock and checks.

Standard library only, because it runs in DSPy's environment and in lmpipe's. `main` runs one
measurement of a `Side` and prints it as one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from peak import peak_mb

INSTRUCTION = "Answer the question with a short fact."
MODEL = "openai/stub"
MAX_TOKENS = 512
DEMOS = 4

# Lower numbers are for demonstrations and warming up, so that measured rows are new.
_FIRST_WARM, _FIRST_ROW = 1_000, 1_000_000


def question(number: int) -> str:
    return f"What is the capital of country number {number:07d}?"


def answer(number: int) -> str:
    return f"City {number:07d}"


def demonstrations() -> list[dict[str, str]]:
    """Demonstrations with all fields of a ChainOfThought."""
    return [
        {
            "question": question(number),
            "reasoning": f"Country {number} has one capital, the city of the same number.",
            "answer": answer(number),
        }
        for number in range(DEMOS)
    ]


@dataclass(frozen=True)
class Settings:
    """The settings of a side.

    Args:
        url: The stub server's address, up to `/v1`; empty for an LM inside the process.
        cache: The folder of the cache, or None.
        in_flight: The number of calls in flight.
        threads: The number of threads for sync work, if the side has that setting.
        demos: Whether the prompt contains demonstrations.
        engine: DSPy's engine, or the kind of bare client.
    """

    url: str
    cache: Path | None
    in_flight: int
    threads: int
    demos: bool
    engine: str


class Side(Protocol):
    """A library that is measured."""

    def versions(self) -> dict[str, str]: ...

    def set_up(self, settings: Settings) -> None:
        """Configure the library and declare the program."""
        ...

    async def ask(self, text: str) -> str:
        """One async call of the program."""
        ...

    def ask_sync(self, text: str) -> str:
        """One call of a program with a sync `forward`."""
        ...

    def ask_all_sync(self, texts: Sequence[str]) -> list[str]:
        """That program on many rows, with `in_flight` calls or `threads` threads."""
        ...

    def ask_batch(self, texts: Sequence[str]) -> list[str]:
        """The plain ChainOfThought on many rows with the library's batch function."""
        ...

    def examples(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """Labeled examples in the library's own type."""
        ...

    def evaluate(self, examples: Any, folder: Path) -> float:
        """The share of correct answers; rows may be written to the folder."""
        ...

    def rows_kept(self) -> bool:
        """Whether an evaluation keeps its rows in memory."""
        ...

    async def aclose(self) -> None:
        """Close what `ask` opened on the loop."""
        ...


async def drive(ask: Callable[[str], Awaitable[str]], texts: Sequence[str], n: int) -> list[str]:
    """Ask all texts on the caller's event loop, `n` in flight."""
    answers = [""] * len(texts)
    rest = iter(range(len(texts)))

    async def work() -> None:
        for index in rest:
            answers[index] = await ask(texts[index])

    await asyncio.gather(*(work() for _ in range(n)))
    return answers


class Measure:
    """The measurements of one process.

    Args:
        side: The library.
        settings: Its settings.
        calls: The number of timed calls or rows.
    """

    def __init__(self, side: Side, settings: Settings, calls: int) -> None:
        self.side = side
        self.settings = settings
        self.numbers = range(_FIRST_ROW, _FIRST_ROW + calls)
        self.texts = [question(number) for number in self.numbers]
        self.right = [answer(number) for number in self.numbers]
        self.warm = [question(_FIRST_WARM + number) for number in range(2 * settings.in_flight)]

    def run_async(self) -> dict[str, Any]:
        async def both() -> dict[str, Any]:
            await drive(self.side.ask, self.warm, self.settings.in_flight)
            with self._clock(fresh=len(self.texts)) as result:
                answers = await drive(self.side.ask, self.texts, self.settings.in_flight)
            self._check(answers)
            await self.side.aclose()
            return result

        return asyncio.run(both())

    def run_sync(self) -> dict[str, Any]:
        return self._timed(self._ask_sync)

    def run_batch(self) -> dict[str, Any]:
        return self._timed(self.side.ask_batch)

    def run_cached_async(self) -> dict[str, Any]:
        async def both() -> dict[str, Any]:
            await drive(self.side.ask, self.warm, self.settings.in_flight)
            passes = {}
            for name in ("disk", "warm"):
                with self._clock(fresh=0) as passes[name]:
                    answers = await drive(self.side.ask, self.texts, self.settings.in_flight)
                self._check(answers)
            return _merge(passes)

        return asyncio.run(both())

    def run_cached_sync(self) -> dict[str, Any]:
        self._ask_sync(self.warm)
        passes = {}
        for name in ("disk", "warm"):
            with self._clock(fresh=0) as passes[name]:
                answers = self._ask_sync(self.texts)
            self._check(answers)
        return _merge(passes)

    def run_fill(self) -> dict[str, Any]:
        """Fill the cache for sync and async calls, including the rows for warming up."""
        texts = [*self.warm, *self.texts]
        with self._clock(fresh=None) as result:
            asyncio.run(drive(self.side.ask, texts, self.settings.in_flight))
            self._ask_sync(texts)
        return result

    def run_evaluate(self) -> dict[str, Any]:
        return self._evaluate(fresh=len(self.texts))

    def run_evaluate_cached(self) -> dict[str, Any]:
        return self._evaluate(fresh=0)

    def run_memory(self) -> dict[str, Any]:
        """The memory that an evaluation takes beyond its data, in MB."""
        pairs = list(zip(self.texts, self.right, strict=True))
        self._score(self.side.examples(pairs[:200]))
        examples = self.side.examples(pairs)
        before = peak_mb()
        with self._clock(fresh=None) as result:
            self._score(examples)
        peak = peak_mb()
        return {
            **result,
            "peak_mb": peak,
            "grown_mb": peak - before,
            "kb_per_row": 1024 * (peak - before) / len(pairs),
            "rows_kept": self.side.rows_kept(),
        }

    def _ask_sync(self, texts: Sequence[str]) -> list[str]:
        if self.settings.in_flight == 1:
            return [self.side.ask_sync(text) for text in texts]
        return self.side.ask_all_sync(texts)

    def _timed(self, run: Callable[[Sequence[str]], list[str]]) -> dict[str, Any]:
        run(self.warm)
        with self._clock(fresh=len(self.texts)) as result:
            answers = run(self.texts)
        self._check(answers)
        return result

    def _evaluate(self, fresh: int) -> dict[str, Any]:
        warm = [(text, "") for text in self.warm]
        self._score(self.side.examples(warm), expected=0.0)
        examples = self.side.examples(list(zip(self.texts, self.right, strict=True)))
        with self._clock(fresh=fresh) as result:
            self._score(examples)
        return result

    def _score(self, examples: Any, expected: float = 1.0) -> None:
        with tempfile.TemporaryDirectory() as folder:
            score = self.side.evaluate(examples, Path(folder))
        if abs(score - expected) > 1e-9:
            raise SystemExit(f"the evaluation scored {score}, expected {expected}")

    def _check(self, answers: Sequence[str]) -> None:
        if list(answers) != self.right:
            wrong = sum(a != b for a, b in zip(answers, self.right, strict=True))
            raise SystemExit(f"{wrong} of {len(self.right)} answers are wrong")

    @contextmanager
    def _clock(self, fresh: int | None) -> Iterator[dict[str, Any]]:
        """Time a block that makes one call per row.

        Args:
            fresh: The number of requests that must reach the server; None for any.
        """
        result: dict[str, Any] = {}
        before = server_stats(self.settings.url)
        cpu, start = time.process_time(), time.perf_counter()
        yield result
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        after = server_stats(self.settings.url)
        asked = int(after["requests"] - before["requests"])
        if fresh is not None and self.settings.url and asked != fresh:
            raise SystemExit(f"{asked} requests reached the server, expected {fresh}")
        result.update(
            calls=len(self.texts),
            seconds=seconds,
            per_second=len(self.texts) / seconds,
            cpu_share=cpu / seconds,
            server_cpu_share=(after["cpu_seconds"] - before["cpu_seconds"]) / seconds,
            asked=asked,
        )


def _merge(passes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{name}_{key}": value for name, row in passes.items() for key, value in row.items()}


def server_stats(url: str) -> dict[str, float]:
    """The stub server's number of requests so far, and its CPU seconds."""
    if not url:
        return {"requests": 0, "cpu_seconds": 0.0}
    connection = http.client.HTTPConnection(url.split("/")[2])
    connection.request("GET", "/stats")
    stats: dict[str, float] = json.loads(connection.getresponse().read())
    connection.close()
    return stats


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = [name.removeprefix("run_") for name in vars(Measure) if name.startswith("run_")]
    parser.add_argument("command", choices=[name.replace("_", "-") for name in commands])
    parser.add_argument("--url", default="", help="the stub server, up to /v1")
    parser.add_argument("--cache", type=Path, help="the cache's folder; none by default")
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--threads", type=int, default=8, help="for DSPy's sync work")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--demos", action="store_true", help="4 demonstrations in the prompt")
    parser.add_argument(
        "--engine", default="auto", help="DSPy's engine, or the kind of bare client"
    )
    return parser.parse_args(arguments)


def main(side: Side) -> None:
    """Run the measurement that the command line names and print it as JSON."""
    options = parse()
    settings = Settings(
        url=options.url,
        cache=options.cache,
        in_flight=options.in_flight,
        threads=options.threads,
        demos=options.demos,
        engine=options.engine,
    )
    side.set_up(settings)
    measure = Measure(side, settings, options.calls)
    result = getattr(measure, "run_" + options.command.replace("-", "_"))()
    print(json.dumps({**result, "versions": side.versions()}))
