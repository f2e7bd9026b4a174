"""`Code`: fences are taken off, and the language is told."""

from __future__ import annotations

import pickle
from typing import Any, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.signatures.field_types.code import code_in

PYTHON = code_in("python")


def read(text: str, kind: Any = PYTHON) -> str:
    value: str = pydantic.TypeAdapter(kind).validate_python(text)
    return value


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```",
        "```\nx = 1\n```",
        "```py\nx = 1\n```",
        "Here it is:\n\n```python\nx = 1\n```\n\nIt sets x.",
        "```python\nx = 1",
        "````python\nx = 1\n````",
        "```bash\npip install x\n```\nand then\n```python\nx = 1\n```",
        "x = 1",
    ],
)
def test_the_code_is_what_is_inside_of_the_fence(text: str) -> None:
    assert read(text) == "x = 1"


def test_two_blocks_are_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="2 blocks of code; give one"):
        read("```python\nx = 1\n```\nor\n```python\nx = 2\n```")


def test_a_fence_inside_of_python_code_is_kept() -> None:
    code = '"""Example:\n```\nf()\n```\n"""\ndef f(): ...'
    assert read(code) == code


def test_an_inner_fence_that_is_shorter_is_kept() -> None:
    assert read("````markdown\n```\nx\n```\n````", lmpipe.Code) == "```\nx\n```"


@given(st.text(alphabet=st.characters(blacklist_characters="`", codec="utf-8")))
def test_a_text_without_a_fence_is_kept(text: str) -> None:
    assert read(text, lmpipe.Code) == text


@given(st.lists(st.text(alphabet="ab =()\n`"), max_size=4).map("\n".join))
def test_a_fenced_text_comes_back(code: str) -> None:
    assert read(f"``````sql\n{code}\n``````", code_in("sql")) == code or "``````" in code


def test_a_value_knows_its_language() -> None:
    value: Any = read("x = 1")
    assert (type(value).language, isinstance(value, str)) == ("python", True)


def test_both_spellings_are_one_type() -> None:
    kind: Any = lmpipe.Code
    assert kind["python"] is kind[Literal["python"]] is PYTHON


def test_two_languages_are_refused() -> None:
    kind: Any = lmpipe.Code
    with pytest.raises(TypeError, match="one language"):
        kind["python", "sql"]


def test_values_and_types_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps((PYTHON, read("x = 1"))))
    assert (again[0], type(again[1])) == (PYTHON, PYTHON)


@pytest.mark.parametrize(
    ("layout", "told"),
    [("chat", "- code: Python code"), ("json", '- "code": a string of Python code')],
)
def test_the_prompt_tells_the_language(layout: str, told: str) -> None:
    program = lmpipe.Predict("task -> code: Code['python'], note", layout=layout)
    assert told in program.messages(task="x")[0].text


@pytest.mark.parametrize(
    ("layout", "reply"),
    [
        ("chat", "[[code]]\n```python\nx = 1\n```\n\n[[note]]\nn"),
        ("json", '{"code": "```python\\nx = 1\\n```", "note": "n"}'),
    ],
)
def test_an_output_has_no_fence(layout: str, reply: str) -> None:
    with lmpipe.using(lm=lmpipe.ScriptedLM([reply])):
        program = lmpipe.Predict("task -> code: Code['python'], note", layout=layout)
        assert program(task="x").code == "x = 1"


def test_two_blocks_in_a_reply_are_asked_for_again() -> None:
    two, one = "[[code]]\n```\na\n```\n```\nb\n```", "[[code]]\n```\na\n```"
    lm = lmpipe.ScriptedLM([two, one])
    with lmpipe.using(lm=lm):
        assert lmpipe.Predict("task -> code: Code['sql']")(task="x").code == "a"
    assert "give one" in lm.requests[1].messages[-1].text
