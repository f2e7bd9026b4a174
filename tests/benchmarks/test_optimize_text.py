"""The benchmark of searches for texts runs, and both of its sides take the calls that they may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import optimize_text

    return optimize_text


@pytest.mark.parametrize("side", ["with_lmpipe", "with_gepa"])
def test_a_search_over_rows_finds_rules(benchmark: Any, side: str) -> None:
    found = getattr(benchmark, side)(benchmark.World(rules=6), 400, single=False)
    assert found.score > 0.2
    assert found.evaluations + found.questions <= 440


@pytest.mark.parametrize("side", ["with_lmpipe", "with_gepa"])
def test_a_search_for_one_task_finds_rules(benchmark: Any, side: str) -> None:
    found = getattr(benchmark, side)(benchmark.World(rules=6), 20, single=True)
    assert found.score > 0.2
    assert found.evaluations + found.questions <= 24
