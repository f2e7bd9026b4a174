"""Fixtures: a working folder with a program's file, and the command line."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lmpipe.cli import app

TESTS = Path(__file__).parent.parent

PROGRAM = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import lmpipe
from helpers.world import COLOURS, NameColour, TwoSteps, answer, student, things
from helpers.world import recipe as make

recipe = make(name="", optimizer=lmpipe.RandomSearch(candidates=6, demos=8, bootstrapped=2))
"""

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "LMPIPE_DEBUG", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a working folder that holds colours.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colours.py").write_text(PROGRAM)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], str]:
    """Return a function that writes a program's file: colours.py plus more lines."""

    def add(name: str, lines: str) -> str:
        (folder / name).write_text(PROGRAM + "\n" + lines + "\n")
        return name

    return add


@pytest.fixture
def cli(folder: Path) -> Cli:
    """Return a function that runs a command; results have `exit_code`, `stdout`, `stderr`."""

    def invoke(*arguments: str, stdin: str | None = None) -> Any:
        return CliRunner().invoke(app, list(arguments), input=stdin)

    return invoke


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    @functools.cache
    def compiled() -> Path:
        folder = tmp_path_factory.mktemp("compiled")
        (folder / "colours.py").write_text(PROGRAM)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("LMPIPE_HOME", str(folder / "home"))
            result = CliRunner().invoke(app, ["compile", "colours.py"])
        assert result.exit_code == 0, result.output
        return folder

    return compiled


@pytest.fixture
def compiled(compiled_once: Callable[[], Path], folder: Path) -> str:
    """The run folder of colours.py: a copy of a compile, and of the cache that it filled."""
    made = compiled_once()
    shutil.copytree(made / "runs", folder / "runs")
    shutil.copytree(made / "home", os.environ["LMPIPE_HOME"])
    return str(next((folder / "runs").iterdir()).relative_to(folder))
