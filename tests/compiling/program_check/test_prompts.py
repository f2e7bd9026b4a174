"""The prompts that `lmpipe check` renders, whatever the types of their inputs."""

from __future__ import annotations

import datetime
import enum
from typing import Literal

import pydantic
import pytest
from helpers.layouts import TEXT_LAYOUTS

import lmpipe
from lmpipe.compiling.program_check.prompts import check_predictors, context_problems, placeholders


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Part(pydantic.BaseModel):
    name: str
    weight: float
    parts: list[str] = []


class Everything(lmpipe.Signature):
    """Describe it."""

    text: str = lmpipe.Input()
    photo: lmpipe.Image = lmpipe.Input()
    photos: list[lmpipe.Image] = lmpipe.Input()
    talk: lmpipe.History = lmpipe.Input()
    document: lmpipe.Document = lmpipe.Input()
    tools: list[lmpipe.Tool] = lmpipe.Input()
    day: datetime.date = lmpipe.Input()
    size: Size = lmpipe.Input()
    part: Part = lmpipe.Input()
    mood: Literal["good", "bad"] = lmpipe.Input()
    share: float | None = lmpipe.Input()
    answer: str = lmpipe.Output()


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_every_type_of_input_has_a_placeholder(layout: str) -> None:
    (found,) = check_predictors(lmpipe.Predict(Everything, layout=layout), [], [lmpipe.LM("local")])
    assert "<text>" in found.messages[-1].text
    assert not found.from_example


def test_a_placeholder_has_the_form_of_its_type() -> None:
    made = placeholders(lmpipe.Predict(Everything).spec)
    assert made["part"] == {"name": "<name>", "weight": 0, "parts": []}
    assert (made["mood"], made["share"], made["size"]) == ("good", 0, "SMALL")


def rows(*texts: str) -> list[lmpipe.Example]:
    return [lmpipe.Example(text=text, answer="x").with_inputs("text") for text in texts]


def test_the_longest_inputs_of_the_examples_are_shown() -> None:
    program = lmpipe.Predict("text -> answer")
    (found,) = check_predictors(program, rows("a", "a long text", "b"), [lmpipe.LM("local")])
    assert "a long text" in found.messages[-1].text
    assert found.from_example


def test_an_input_that_examples_have_is_shown_beside_placeholders() -> None:
    program = lmpipe.Predict("text, query -> answer")
    (found,) = check_predictors(program, rows("a text"), [lmpipe.LM("local")])
    assert "a text" in found.messages[-1].text
    assert "<query>" in found.messages[-1].text
    assert not found.from_example


def test_a_predictor_with_its_own_lm_is_measured_for_that_one() -> None:
    program = lmpipe.Predict("text -> answer", lm="openai/gpt-4o")
    (found,) = check_predictors(program, [], [lmpipe.LM("local")])
    assert [size.lm for size in found.sizes] == ["openai/gpt-4o"]


@pytest.mark.parametrize(
    ("context", "message"),
    [(200, "do not fit"), (290, "nearly fill"), (400, "")],
)
def test_prompts_near_the_context_are_told(context: int, message: str) -> None:
    lm = lmpipe.LM("vllm/m", base_url="http://localhost", context=context, max_tokens=100)
    found = check_predictors(lmpipe.Predict("text -> answer"), rows("word " * 100), [lm])
    told = [problem.message for problem in context_problems(found)]
    assert [message in text for text in told] == [True] * bool(message)
