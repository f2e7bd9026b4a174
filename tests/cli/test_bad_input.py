"""Bad input: exit code 2, one clear message on standard error, no traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
Write = Callable[[str, str], str]


def check(result: Any, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr.split("the metric raised")[0]
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compile", "nowhere.py"], ["nowhere.py: no such file", "give the Python file"]),
        (["compile", "colours.py", "--train", "nowhere.jsonl"], ["nowhere.jsonl: no such file"]),
        (
            ["compile", "colours.py", "--optimizer", "random-serch"],
            ["did you mean 'random-search'"],
        ),
        (["compile", "colours.py", "--budget", "cals=3"], ["cannot read 'cals=3'"]),
        (["compile", "colours.py", "--base-url", "http://x/v1"], ["--student"]),
        (
            ["compile", "colours.py", "--student", "openai/x", "--api-key-env", "NOT_THERE"],
            ["NOT_THERE", "environment variable is not set"],
        ),
        (["compile", "colours.py", "--test-size", "4000"], ["4000", "40"]),
        (["eval", "nowhere"], ["nowhere: expected a run folder or a program's .py file"]),
        (["show", "."], ["is not a run folder"]),
        (["report", "."], ["is not a run folder"]),
        (["runs", "nowhere"], ["no such folder"]),
        (["eval", "colours.py", "--out", "rows.txt"], ["expected a name that ends in .jsonl"]),
    ],
)
def test_wrong_arguments(cli: Cli, arguments: list[str], words: list[str]) -> None:
    check(cli(*arguments), *words)


@pytest.mark.parametrize(
    "arguments", [["compile"], ["frobnicate"], ["compile", "x.py", "--seed", "a"]]
)
def test_wrong_usage(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_a_malformed_line_is_named(cli: Cli, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('{"thing": "sky number 1", "colour": "blue"}\nnot json\n')
    check(cli("compile", "colours.py", "--train", "bad.jsonl"), "bad.jsonl:2")


def test_a_missing_field_is_named_with_its_line(cli: Cli, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('{"thinge": "sky number 1", "colour": "blue"}\n')
    check(
        cli("compile", "colours.py", "--train", "bad.jsonl"),
        "bad.jsonl:1",
        "did you mean 'thinge'?",
    )


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("recipe = 3", ["has no recipe called 'recipe'"]),
        ("1 / 0", ["cannot be run: ZeroDivisionError"]),
        ("recipe = recipe.replace(val=recipe.test)", ["val and test share 40 rows"]),
        ("recipe = recipe.replace(val=[])", ["val has no rows"]),
        (
            "def broken(example, prediction): return float('nan')\n"
            "recipe = recipe.replace(metric=broken)",
            ["metric 'broken' returned nan", "row 1 of train", "mend the metric"],
        ),
        (
            "def broken(example, prediction): raise ValueError('no such field')\n"
            "recipe = recipe.replace(metric=broken)",
            ["raised on every row; on row 1 of train", "ValueError: no such field", "wrong.py:"],
        ),
        ("recipe = recipe.replace(optimizer='opro')", ["unknown optimizer 'opro'"]),
    ],
)
def test_a_wrong_recipe(cli: Cli, write: Write, lines: str, words: list[str]) -> None:
    check(cli("compile", write("wrong.py", lines)), *words)


def test_an_untrusted_folder_does_not_run_code(cli: Cli, compiled: str) -> None:
    check(cli("run", compiled, "--input", "thing=x"), "--program FILE or --trust")


def test_the_run_folder_of_another_program(cli: Cli, compiled: str, write: Write) -> None:
    write("other.py", "recipe = recipe.replace(program=TwoSteps())")
    check(cli("eval", compiled, "--program", "other.py"), "does not fit this program")


def test_a_changed_program_json(cli: Cli, compiled: str, folder: Path) -> None:
    file = folder / compiled / "program.json"
    file.write_text(file.read_text().replace("Which colour", "Which color"))
    check(cli("show", compiled), "one of the two was")


def test_data_that_changed_since_the_compile(cli: Cli, compiled: str, write: Write) -> None:
    write("colours.py", "recipe = recipe.replace(test=things(40, seed=9, start=900))")
    check(cli("eval", compiled, "--trust"), "the test split has changed since the compile")


def test_a_missing_split(cli: Cli, write: Write) -> None:
    write("untested.py", "recipe = recipe.replace(test=None)")
    check(cli("eval", "untested.py"), "no test examples")


def test_debug_shows_the_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMPIPE_DEBUG", "1")
    command = [sys.executable, "-m", "lmpipe", "compile", "nowhere.py"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" in result.stderr
