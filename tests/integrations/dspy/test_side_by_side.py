"""DSPy's optimizers beside lmpipe's on one program: the table of the guide."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.dspy_programs import BY_NAME
from helpers.dspy_stub import scripted_lm
from helpers.pages import read_page

import lmpipe

CASE = BY_NAME["chain-of-thought"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("optimizer", ["dspy.MIPROv2", "mipro", "dspy.GEPA", "gepa"])
def test_the_guide_has_what_an_optimizer_finds_and_spends(optimizer: str, tmp_path: Path) -> None:
    recipe = lmpipe.Recipe(
        program=CASE.make(),
        train=CASE.data(8),
        val=CASE.data(6, first=10),
        test=CASE.data(12, first=20),
        metric=CASE.metric,
        optimizer=optimizer,
        student=scripted_lm(CASE.values),
        train_check=0,
        ablation=False,
    )
    run = lmpipe.compile(recipe, runs=tmp_path, progress=False)
    before, after = (f"{100 * run.scores[name]:.0f}" for name in ("as declared", "compiled"))
    spent = run.account.total
    row = f"| `{optimizer}` | {before} | {after} | {spent.calls} | {spent.usage.tokens:,} |"
    assert row in read_page("dspy.md")
