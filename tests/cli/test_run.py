"""`lmpipe run`: inputs in, typed results out as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

TYPED = """
from datetime import date
import json as _json
class Echo(lmpipe.Signature):
    text: str = lmpipe.Input()
    numbers: list[int] = lmpipe.Input(default=[1])
    when: date | None = lmpipe.Input(default=None)
    answer: str = lmpipe.Output()
def echo(request):
    return _json.dumps({"answer": request.messages[-1].content})
recipe = recipe.replace(
    program=lmpipe.Predict(Echo, layout="json"), student=lmpipe.ScriptedLM(echo)
)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--thing", "grass number 3"],
        ["--thing=grass number 3"],
        ["--input", '{"thing": "grass number 3"}'],
    ],
)
def test_one_answer_is_one_object(cli: Cli, compiled: str, arguments: list[str]) -> None:
    result = cli("run", compiled, "--trust", *arguments)
    assert json.loads(result.stdout) == {"colour": "green"}


def test_jsonl_on_standard_input_gives_jsonl(cli: Cli, compiled: str) -> None:
    lines = '{"thing": "grass number 3"}\n\n{"thing": "sky number 4"}\n'
    result = cli("run", compiled, "--trust", "-", stdin=lines)
    assert [json.loads(line)["colour"] for line in result.stdout.splitlines()] == ["green", "blue"]


def test_values_that_are_no_text_are_read_as_json(cli: Cli, write: Write) -> None:
    write("typed.py", TYPED)
    result = cli("run", "typed.py", "--text", "12", "--numbers", "[4, 5]", "--when", "2024-02-03")
    answer = json.loads(result.stdout)["answer"]
    assert "12" in answer
    assert "2024-02-03" in answer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--text", "a", "--numbers", "[4, true-ish]"], "input 'numbers' must be list[int]"),
        (["--tekst", "a"], "unknown input 'tekst'; missing input 'text'"),
        (["--text"], "--text needs a value"),
        (["--input", "{"], "--input: expected JSON"),
        (["--input", "[]"], "--input: expected an object"),
        (["-"], "standard input has no rows"),
    ],
)
def test_wrong_inputs_are_exit_2(cli: Cli, write: Write, arguments: list[str], words: str) -> None:
    write("typed.py", TYPED)
    result = cli("run", "typed.py", *arguments, stdin="")
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_wrong_line_is_named(cli: Cli) -> None:
    result = cli("run", "colours.py", "-", stdin='{"thing": "sky number 1"}\n{"thing": 3}\n')
    assert result.exit_code == 2
    assert "line 2: input 'thing' must be str" in result.stderr


def test_a_reply_that_cannot_be_read_is_exit_1(cli: Cli, write: Write) -> None:
    write("mute.py", "recipe = recipe.replace(student=lmpipe.ScriptedLM(lambda r: 'no'))")
    result = cli("run", "mute.py", "--thing", "sky number 1")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")


def test_a_row_that_fails_keeps_its_line(cli: Cli, write: Write) -> None:
    picky = "lambda r: 'no' if 'apple' in r.messages[1].content else '## colour\\nblue'"
    write("picky.py", f"recipe = recipe.replace(student=lmpipe.ScriptedLM({picky}))")
    lines = '{"thing": "apple number 1"}\n{"thing": "sky number 1"}\n'
    result = cli("run", "picky.py", "-", stdin=lines)
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert "error" in first
    assert second == {"colour": "blue"}
    assert result.exit_code == 1


def test_a_typed_function_takes_its_parameters(cli: Cli, write: Write) -> None:
    function = """
@lmpipe.predict
def shout(word: str) -> str:
    "Shout."
recipe = recipe.replace(program=shout, student=lmpipe.ScriptedLM(lambda r: "## result\\nHEY"))
"""
    write("function.py", function)
    assert json.loads(cli("run", "function.py", "--word", "hey").stdout) == {"result": "HEY"}


def test_the_target_comes_first(cli: Cli) -> None:
    assert cli("run", "--thing", "x", "colours.py").exit_code == 2
