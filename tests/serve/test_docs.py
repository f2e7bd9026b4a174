"""The page about serving programs says what is there: its examples run on a real server."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.filler import fill
from helpers.http_servers import serving
from helpers.pages import blocks, examples_of, read_page, run_examples
from helpers.run_copies import copy_run, open_run, source_of
from typer.testing import CliRunner

import lmpipe
from lmpipe.serve import problems
from lmpipe.serve.app import ServeApp
from lmpipe.serve.deployment import Deployment, Programs
from lmpipe.serve.options import ServeOptions

PAGE = read_page("serving-programs.md")
ADDRESS = "http://127.0.0.1:8000"
COMMANDS = [block.replace("\\\n", " ").strip() for block in blocks(PAGE, "sh")]
OPERATOR = "key-of-the-operator"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    names = re.findall(r"\d{8}-\d{6}-tickets-\w{8}", PAGE)
    for minute, name in enumerate(sorted(set(names))):
        copy_run(tmp_path / "runs", name, minute=minute)
    first = open_run(tmp_path / "runs" / names[0])
    app = ServeApp(
        Programs([Deployment([first], [1.0])]),
        ServeOptions(admin_keys=[OPERATOR]),
        sources={"tickets": source_of(tmp_path / "runs")},
        mcp=True,
    )
    with serving(app) as server:
        yield server.url


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_requests_are_answered(url: str) -> None:
    asked = [command for command in COMMANDS if command.startswith("curl")]
    answers = []
    for line in asked:
        command = line.replace(ADDRESS, url).replace("$LMPIPE_SERVE_ADMIN_KEYS", OPERATOR)
        done = subprocess.run(
            [*shlex.split(command), "--silent", "--fail-with-body"],
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        answers.append(done.stdout)
    plain, streamed, batch, swapped = answers
    assert json.loads(plain)["team"] == "billing"
    assert "event: result" in streamed
    assert len(json.loads(batch)["results"]) == 2
    assert json.loads(swapped)["runs"][0]["share"] == 1.0


def test_the_python_examples_run(url: str, tmp_path: Path, capsys: Any) -> None:
    with lmpipe.using(lm=lmpipe.ScriptedLM(fill)):
        names = run_examples(examples_of("serving-programs.md").replace(ADDRESS, url), tmp_path)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["team"] == "billing"
    assert isinstance(names["app"], ServeApp)


@pytest.mark.parametrize(
    "line",
    [line for command in COMMANDS for line in command.splitlines() if "lmpipe serve" in line],
)
def test_the_commands_and_their_options_exist(line: str) -> None:
    from lmpipe.cli import app

    options = [word for word in shlex.split(line) if word.startswith("--")]
    known = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    assert [option for option in options if option not in known] == []


def test_the_options_in_the_text_exist() -> None:
    from lmpipe.cli import app

    known = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    used = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert used
    assert {option for option in used if option not in known} == set()


def test_every_kind_of_problem_is_in_the_table() -> None:
    folder = Path(problems.__file__).parent
    source = "\n".join(file.read_text() for file in folder.glob("*.py"))
    stated = r'(?:Problem|refusal)\(\s*(?:\d{3}|error\.status_code),\s*"([a-z-]+)"'
    kinds = set(re.findall(stated, source))
    told = set(re.findall(r"`([a-z-]+)`", PAGE.partition("| status | type | |")[2]))
    assert len(kinds) > 20
    assert kinds - told == set()
