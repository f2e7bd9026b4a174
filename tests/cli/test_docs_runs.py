"""The commands and the example of docs/runs.md run, as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import ROOT, examples_of, run_examples

Cli = Callable[..., Any]

TEXT = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("  #")[0]
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture
def week(cli: Cli, compiled: str, folder: Path) -> Path:
    """A folder as the page has it: a program, two runs of it, and more data."""
    (folder / "programs").mkdir()
    source = (folder / "colours.py").read_text()
    (folder / "programs" / "tickets.py").write_text(source)
    for day, options in (("monday", ()), ("tuesday", ("--seed", "1"))):
        cli("compile", "programs/tickets.py", "--runs", "made", *options)
        (made,) = (folder / "made").iterdir()
        made.rename(folder / "runs" / day)
    rows = [f'{{"thing": "sky number {n}", "colour": "blue"}}\n' for n in range(900, 912)]
    (folder / "more.jsonl").write_text("".join(rows))
    return folder


def test_every_command_of_the_page_runs(cli: Cli, week: Path) -> None:
    assert len(COMMANDS) > 20
    for command in COMMANDS:
        name, *arguments = shlex.split(command)
        assert name == "lmpipe", command
        result = cli(*arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}"


def test_the_example_of_the_page_runs(
    week: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_examples(examples_of("runs.md"), tmp_path)
    assert "on 40 examples" in capsys.readouterr().out
