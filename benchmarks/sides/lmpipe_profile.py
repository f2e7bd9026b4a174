"""Profile lmpipe's calls with cProfile, in one thread, because cProfile sees only one.

    python benchmarks/sides/lmpipe_profile.py uncached|cached --url URL --out FILE [--calls N]

`uncached` runs on the library's event loop, as `batch` and `evaluate` do; `cached` is a plain loop.
"""

from __future__ import annotations

import argparse
import cProfile
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import Settings, drive, question
from lmpipe_side import LmpipeSide

import lmpipe


class Drive(lmpipe.Module):
    """Makes calls inside an async `forward`, with the profiler in its thread."""

    def __init__(self, side: LmpipeSide, in_flight: int, profiler: cProfile.Profile) -> None:
        self.side, self.in_flight, self.profiler = side, in_flight, profiler

    async def forward(self, texts: Sequence[str]) -> None:
        with self.profiler:
            await drive(self.side.ask, texts, self.in_flight)


def uncached(side: LmpipeSide, profiler: cProfile.Profile, texts: Sequence[str]) -> None:
    Drive(side, side.settings.in_flight, cProfile.Profile())(texts=texts[: len(texts) // 10])
    Drive(side, side.settings.in_flight, profiler)(texts=texts)


def cached(side: LmpipeSide, profiler: cProfile.Profile, texts: Sequence[str]) -> None:
    side.ask_batch(texts)
    side.ask_sync(texts[0])
    with profiler:
        for text in texts:
            side.ask_sync(text)


_SCENES: dict[str, Callable[[LmpipeSide, cProfile.Profile, Sequence[str]], None]] = {
    "uncached": uncached,
    "cached": cached,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", choices=_SCENES)
    parser.add_argument("--url", required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    side, profiler = LmpipeSide(), cProfile.Profile()
    side.set_up(
        Settings(
            url=options.url,
            cache=options.cache,
            in_flight=options.in_flight,
            threads=1,
            demos=False,
            engine="",
        )
    )
    texts = [question(number) for number in range(options.calls)]
    _SCENES[options.scene](side, profiler, texts)
    profiler.dump_stats(options.out)


if __name__ == "__main__":
    main()
