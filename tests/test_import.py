"""`import lmpipe` costs next to nothing, and heavy packages wait until they are used."""

from __future__ import annotations

import subprocess
import sys

import lmpipe

HEAVY = (
    "aiohttp",
    "bm25s",
    "datasets",
    "diskcache",
    "dspy",
    "gepa",
    "json_repair",
    "litellm",
    "matplotlib",
    "numpy",
    "optuna",
    "ray",
    "rich",
    "torch",
    "transformers",
    "typer",
    "vllm",
    "xllamacpp",
)


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_import_alone_loads_no_other_package() -> None:
    assert modules_after("import lmpipe").isdisjoint({*HEAVY, "pydantic", "asyncio"})


def test_declaring_a_program_loads_nothing_heavy() -> None:
    assert modules_after("import lmpipe; lmpipe.Predict('a -> b')").isdisjoint(HEAVY)


def test_every_public_name_is_there() -> None:
    assert [name for name in lmpipe.__all__ if not hasattr(lmpipe, name)] == []
