"""The guide to the programs names all of them, and recipes that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmpipe.compiling.load_recipe import load_recipe

FOLDER = Path(__file__).parents[2] / "programs"
GUIDE = (FOLDER / "README.md").read_text(encoding="utf-8")
RECIPES = re.compile(r"^(\w+) = _recipe\(", re.M)


def test_every_program_with_a_recipe_is_in_the_guide() -> None:
    files = [file.name for file in FOLDER.glob("*.py") if "\nrecipe = " in file.read_text("utf-8")]
    assert sorted(re.findall(r"^\| \[(\w+\.py)\]", GUIDE, re.M)) == sorted(files)


@pytest.mark.parametrize("file", ["math_problems.py", "multi_hop.py"])
def test_every_recipe_is_in_the_guide(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER.parent)
    for name in RECIPES.findall((FOLDER / file).read_text(encoding="utf-8")):
        assert f"`{name}`" in GUIDE
        assert load_recipe(f"programs/{file}:{name}").metric is not None
