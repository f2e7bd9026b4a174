"""`lmpipe completion`: what can stand at the end of a line, and the scripts in real shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import lmpipe
from lmpipe.cli import app
from lmpipe.cli.completing import completions

Cli = Callable[..., Any]


def complete(line: str) -> list[str]:
    return [value for value, _ in completions(get_command(app), line)]


@pytest.fixture
def project(folder: Path) -> Path:
    """A folder with two programs, of which one has two recipes, and two runs."""
    (folder / "programs").mkdir()
    (folder / "programs" / "two.py").write_text(
        "def Recipe(): ...\nsmall = Recipe()\nlarge_recipe: object = 2\nother = 3\n"
    )
    for run in ("20260101-tickets-a", "20260201-tickets-b"):
        (folder / "runs" / run).mkdir(parents=True)
        (folder / "runs" / run / "manifest.json").write_text("{}")
    (folder / "lmpipe.toml").write_text('[lms]\nsmall = "vllm/small"\n')
    return folder


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lmpipe compi", ["compile"]),
        ("lmpipe cache st", ["stats"]),
        ("lmpipe --vers", ["--version"]),
        ("lmpipe --version compi", ["compile"]),
        ("lmpipe compile --requ", ["--require-improvement"]),
        ("lmpipe compile programs/t", ["programs/two.py"]),
        ("lmpipe compile pro", ["programs/"]),
        (
            "lmpipe compile programs/two.py:",
            ["programs/two.py:small", "programs/two.py:large_recipe"],
        ),
        ("lmpipe compile programs/two.py:l", ["programs/two.py:large_recipe"]),
        ("lmpipe compile programs/two.py --optimizer mi", ["mipro"]),
        ("lmpipe compile --optimizer=mi", ["--optimizer=mipro"]),
        ("lmpipe run runs/20260101", ["runs/20260101-tickets-a"]),
        ("lmpipe run run", ["runs/20260201-tickets-b", "runs/20260101-tickets-a", "runs/"]),
        ("lmpipe serve x=runs/2026", ["x=runs/20260201-tickets-b", "x=runs/20260101-tickets-a"]),
        ("lmpipe serve a b runs/20260101", ["runs/20260101-tickets-a"]),
        ("lmpipe eval x --student ", ["local", "small"]),
        ("lmpipe eval x --split t", ["train", "test"]),
        ("lmpipe eval x --trust --split v", ["val"]),
        ("lmpipe completion f", ["fish"]),
        ("lmpipe nothing ", []),
        ("lmpipe compile 'open", []),
        ("lmpipe eval x --worst ", []),
        ("lmpipe compile nowhere/x", []),
        ("", []),
    ],
)
def test_what_can_stand_at_the_end_of_a_line(project: Path, line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_every_command_and_option_is_completed() -> None:
    root: Any = get_command(app)
    shown = {name for name, command in root.commands.items() if not command.hidden}
    assert set(complete("lmpipe ")) == shown
    assert "complete-line" not in shown
    for name in shown - {"cache"}:
        found = complete(f"lmpipe {name} -")
        for param in root.commands[name].params:
            if param.param_type_name == "option" and not param.hidden:
                assert set(param.opts) & set(found), (name, param.name)


def test_what_a_shell_would_have_to_quote_is_left_to_the_shell(project: Path) -> None:
    (project / "programs" / "$(touch hacked).py").write_text("")
    (project / "programs" / "two words.py").write_text("")
    assert complete("lmpipe compile programs/") == ["programs/two.py"]


def test_a_broken_project_completes_what_it_can(project: Path) -> None:
    (project / "lmpipe.toml").write_text("[lms")
    (project / "programs" / "two.py").write_text("def")
    assert complete("lmpipe eval x --student ") == ["local"]
    assert complete("lmpipe compile programs/two.py:") == []


def test_a_wrong_shell_is_refused(cli: Cli) -> None:
    result = cli("completion", "tcsh")
    assert result.exit_code == 2
    assert "bash" in result.stderr


# What starts each shell without the user's settings, and loads the script.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(lmpipe completion bash)"),
    "zsh": (
        ["zsh", "-f", "-i"],
        "autoload -U compinit; compinit -u -D; source <(lmpipe completion zsh)",
    ),
    "fish": (["fish", "--no-config", "-i"], "lmpipe completion fish | source"),
}


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        in_terminal = ["setsid", "--ctty", *command]
        self._process = subprocess.Popen(
            in_terminal, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=env
        )
        os.close(slave)
        self.screen = ""

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, pattern: str, *, seconds: float = 120) -> None:
        """Read what is shown until a pattern is."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.screen):
            ready, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
            assert ready, f"no {pattern!r} in {self.screen!r}"
            self.screen += os.read(self._master, 65536).decode(errors="replace")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


@pytest.fixture(params=SHELLS)
def terminal(request: pytest.FixtureRequest, project: Path) -> Any:
    command, setup = SHELLS[request.param]
    for needed in (command[0], "setsid"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    (project / "bin").mkdir()
    (project / "bin" / "lmpipe").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lmpipe "$@"\n')
    (project / "bin" / "lmpipe").chmod(0o755)
    env = {
        "PATH": f"{project / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(lmpipe.__file__).parents[1]),
        "HOME": str(project),
        "TERM": "dumb",
        "LMPIPE_HOME": os.environ["LMPIPE_HOME"],
    }
    shell = Terminal(command, project, env)
    try:
        shell.type(f"{setup}; echo rea''dy\n")
        shell.wait_for("ready")
        yield shell
    finally:
        shell.close()


def test_a_command_is_completed_in_a_real_shell(terminal: Terminal) -> None:
    terminal.type("lmpipe versi\t\n")
    terminal.wait_for(r"lmpipe \d+\.\d+\.\d+ \(Python")


def test_a_recipe_of_a_file_is_completed_in_a_real_shell(terminal: Terminal) -> None:
    terminal.type("lmpipe compile programs/two.py:lar\t\n")
    terminal.wait_for("programs/two.py has no recipe called 'large_recipe'")
