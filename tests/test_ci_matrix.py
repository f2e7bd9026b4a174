"""The matrix of extras: none is left out, and each has something that uses it."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import lmpipe

ROOT = Path(__file__).parents[1]
MATRIX = runpy.run_path(str(ROOT / ".ci" / "matrix"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_extra_is_used_in_an_environment_of_its_own() -> None:
    extras = set(PROJECT["optional-dependencies"])
    used = {file.stem.removeprefix("use_") for file in (ROOT / ".ci/smoke").glob("use_*.py")}
    assert extras - set(MATRIX["RESOLVED_ONLY"]) <= used


def test_every_python_that_the_package_names_is_tried() -> None:
    named = [
        name.rpartition(" ")[2] for name in PROJECT["classifiers"] if ":: Python :: 3." in name
    ]
    assert list(MATRIX["PYTHONS"]) == named


def test_the_version_is_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{lmpipe.__version__}]" in changelog
