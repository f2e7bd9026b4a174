"""The page on optimizers lists all of them, and its example works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.world import recipe

import lmpipe
from lmpipe.optimize.by_name import optimizer_named, optimizer_names
from lmpipe.optimize.engine.race_rules import Racing

PAGE = (Path(__file__).parents[2] / "docs" / "optimizers.md").read_text(encoding="utf-8")


def test_every_optimizer_is_listed() -> None:
    listed = dict(re.findall(r"^\| `([\w-]+)` `(\w+)` \|", PAGE, re.M))
    assert listed == {name: type(optimizer_named(name)).__name__ for name in optimizer_names()}


def test_the_example_of_an_optimizer_compiles(tmp_path: Path) -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    file = tmp_path / "shortest.py"
    file.write_text(source, encoding="utf-8")
    names: dict[str, object] = {"__name__": "shortest"}
    exec(compile(source, str(file), "exec", dont_inherit=True), names)
    made = names["ShortestInstruction"]
    assert callable(made)
    run = lmpipe.compile(recipe(optimizer=made()), runs=tmp_path)
    assert {"1 words", "2 words"} <= {candidate.name for candidate in run.candidates}


def test_the_default_risk_is_right() -> None:
    (risk,) = re.findall(r"leader; ([\d.]+) is the default", PAGE)
    assert float(risk) == pytest.approx(Racing().risk)
