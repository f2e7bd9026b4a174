"""docs/lms.md: its table is read as it says, and its commands have these options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from lmpipe.cli import app
from lmpipe.lm.lm import LM
from lmpipe.lm.project_table import project_table

PAGE = (Path(__file__).parents[2] / "docs" / "lms.md").read_text(encoding="utf-8")


def test_the_tables_lms_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "lmpipe.toml").write_text(example, encoding="utf-8")
    table = project_table()
    assert table is not None
    assert {name: LM(name).provider for name in table.entries} == {
        "judge": "openai",
        "small": "vllm",
    }


def test_the_names_in_its_commands_are_read() -> None:
    names = re.findall(r"--(?:student|teacher|judge) '?([^\s']+/[^\s']+)", PAGE)
    assert len(names) > 3
    assert {LM(name).provider for name in names} == {"vllm", "openai", "local"}


def test_its_options_exist() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    known = {
        option for name in ("compile", "run") for p in commands[name].params for option in p.opts
    }
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert used
    assert used <= known
