"""`lmpipe run`: typed inputs in, JSON results out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.pictures import png

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

TYPED = """
from datetime import date
import json as _json
class Echo(lmpipe.Signature):
    text: str = lmpipe.Input()
    numbers: list[int] = lmpipe.Input(default=[1])
    when: date | None = lmpipe.Input(default=None)
    program: str = lmpipe.Input(default="")  # the name of an option
    answer: str = lmpipe.Output()
def echo(request):
    return _json.dumps({"answer": request.messages[-1].content})
recipe = recipe.replace(
    program=lmpipe.Predict(Echo, layout="json"), student=lmpipe.ScriptedLM(echo)
)
"""


@pytest.mark.parametrize("value", ["thing=grass number 3", '{"thing": "grass number 3"}'])
def test_one_input_gives_one_object(cli: Cli, compiled: str, value: str) -> None:
    result = cli("run", compiled, "--trust", "--input", value)
    assert json.loads(result.stdout) == {"colour": "green"}


def test_options_may_come_before_the_target(cli: Cli) -> None:
    assert cli("run", "--input", "thing=sky number 1", "colours.py").exit_code == 0


def test_whole_numbers_of_any_size_keep_their_digits(cli: Cli, write: Write) -> None:
    write(
        "big.py",
        """
recipe = recipe.replace(
    program=lmpipe.Predict("n: int -> m: int"),
    student=lmpipe.ScriptedLM(lambda request: request.messages[-1].content.replace("n", "m", 1)),
)
""",
    )
    result = cli("run", "big.py", "--input", f'{{"n": {2**64 + 1}}}')
    assert json.loads(result.stdout) == {"m": 2**64 + 1}


@pytest.mark.parametrize("source", ["-", "@rows.jsonl"])
def test_rows_of_standard_input_or_a_file_give_a_line_each(
    cli: Cli, compiled: str, folder: Path, source: str
) -> None:
    lines = '{"thing": "grass number 3"}\n\n{"thing": "sky number 4"}\n'
    (folder / "rows.jsonl").write_text(lines)
    result = cli("run", compiled, "--trust", "--input", source, stdin=lines)
    assert [json.loads(line)["colour"] for line in result.stdout.splitlines()] == ["green", "blue"]


def test_a_file_may_hold_one_object_over_several_lines(cli: Cli, folder: Path) -> None:
    (folder / "one.json").write_text('{\n  "thing": "grass number 3"\n}\n')
    result = cli("run", "colours.py", "--input", "@one.json")
    assert json.loads(result.stdout)["colour"] in ("red", "green")


def test_values_are_read_as_the_declared_types(cli: Cli, write: Write) -> None:
    write("typed.py", TYPED)
    values = ("text=12", "numbers=[4, 5]", "when=2024-02-03", "program=a=b")
    options = [word for value in values for word in ("--input", value)]
    asked = json.loads(cli("run", "typed.py", *options).stdout)["answer"]
    assert json.loads(asked) == {
        "text": "12",
        "numbers": [4, 5],
        "when": "2024-02-03",
        "program": "a=b",
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["text=a", "numbers=[4, true-ish]"], "input 'numbers' must be list[int], got '[4, true"),
        (["text=a", "when=soon"], "input 'when' must be date | None, got 'soon'"),
        (["tekst=a"], "unknown input 'tekst'; missing input 'text'"),
        ([], "missing input 'text'\n  the program takes text: str, numbers: list[int] (optional)"),
        (["text=a", "text=b"], "input 'text' is given twice"),
        (["text"], "expected NAME=VALUE, a JSON object, @FILE or -"),
        (["[]"], "expected NAME=VALUE, a JSON object, @FILE or -"),
        (["{"], "--input: expected JSON"),
        (['{"text": 3}'], "--input: input 'text' must be str, got 3"),
        (['{"text": "a"}', "numbers=[1]"], "cannot be combined with another --input"),
        (["@nowhere.json"], "--input @nowhere.json: cannot read the file: No such file"),
        (["-"], "standard input is empty: expected one JSON object per line"),
    ],
)
def test_wrong_inputs_are_exit_2(cli: Cli, write: Write, values: list[str], words: str) -> None:
    write("typed.py", TYPED)
    options = [word for value in values for word in ("--input", value)]
    result = cli("run", "typed.py", *options, stdin="")
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_misspelled_option_is_not_an_input(cli: Cli) -> None:
    result = cli("run", "colours.py", "--thing", "sky number 1")
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_a_wrong_line_is_named(cli: Cli) -> None:
    lines = '{"thing": "sky number 1"}\n{"thing": 3}\n'
    result = cli("run", "colours.py", "--input", "-", stdin=lines)
    assert result.exit_code == 2
    assert "standard input, line 2: input 'thing' must be str" in result.stderr


def test_a_reply_that_cannot_be_read_is_exit_1(cli: Cli, write: Write) -> None:
    write("mute.py", "recipe = recipe.replace(student=lmpipe.ScriptedLM(lambda r: 'no'))")
    result = cli("run", "mute.py", "--input", "thing=sky number 1")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")


def test_a_row_that_fails_keeps_its_line(cli: Cli, write: Write) -> None:
    picky = "lambda r: 'no' if 'apple' in r.messages[1].content else '## colour\\nblue'"
    write("picky.py", f"recipe = recipe.replace(student=lmpipe.ScriptedLM({picky}))")
    lines = '{"thing": "apple number 1"}\n{"thing": "sky number 1"}\n'
    result = cli("run", "picky.py", "--input", "-", stdin=lines)
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
    assert json.loads(cli("run", "function.py", "--input", "word=hey").stdout) == {"result": "HEY"}


def test_a_judge_is_refused_because_nothing_is_scored(cli: Cli) -> None:
    result = cli("run", "colours.py", "--input", "thing=sky number 1", "--judge", "vllm/judge")
    assert result.exit_code == 2
    assert "--judge" in result.stderr


SEEING = """
def seeing(request):
    (image,) = [part for part in request.messages[-1].content if hasattr(part, "sha256")]
    return f"[[seen]]\\n{image.media_type}"
recipe = recipe.replace(
    program=lmpipe.Predict("photo: Image -> seen"), student=lmpipe.ScriptedLM(seeing)
)
"""


@pytest.mark.parametrize(
    "value", ["photo=red.png", '{"photo": {"image": {"path": "red.png"}}}', "@rows/one.json"]
)
def test_an_image_is_read_from_its_path(cli: Cli, write: Write, folder: Path, value: str) -> None:
    write("seeing.py", SEEING)
    (folder / "red.png").write_bytes(png())
    (folder / "rows").mkdir()
    (folder / "rows/one.json").write_text('{"photo": {"image": {"path": "../red.png"}}}')
    result = cli("run", "seeing.py", "--input", value)
    assert json.loads(result.stdout) == {"seen": "image/png"}


@pytest.mark.parametrize(
    ("value", "stdin", "words"),
    [
        ("photo=none.png", "", "input 'photo': none.png: an image cannot be read"),
        ('{"photo": {"image": {"path": "none.png"}}}', "", "--input: none.png: an image cannot"),
        ("-", '{"photo": {"image": {"path": "red.png"}}}', "read only from a data file"),
    ],
)
def test_an_image_that_cannot_be_read_is_bad_input(
    cli: Cli, write: Write, value: str, stdin: str, words: str
) -> None:
    write("seeing.py", SEEING)
    result = cli("run", "seeing.py", "--input", value, stdin=stdin)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
