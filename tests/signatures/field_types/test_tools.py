"""`Tool` and `ToolCalls`: tools as inputs, and chosen calls as outputs."""

from __future__ import annotations

import pytest

import lmpipe
from lmpipe.errors import SignatureError


def weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    return f"{city} {days}"


def test_a_function_is_described() -> None:
    tool = lmpipe.Tool.of(weather)
    assert (tool.name, tool.description) == ("weather", "Tell the weather.")
    assert tool.parameters["required"] == ["city"]


def test_a_parameter_without_a_schema_is_refused() -> None:
    class Canvas: ...

    def draw(canvas: Canvas) -> None: ...

    with pytest.raises(SignatureError, match="the tool draw"):
        lmpipe.Tool.of(draw)


def test_positional_parameters_are_refused() -> None:
    def add(*numbers: int) -> int:
        return sum(numbers)

    with pytest.raises(SignatureError, match="without names"):
        lmpipe.Tool.of(add)


@pytest.mark.parametrize("layout", ["chat", "plain", "json"])
def test_an_lm_chooses_calls(layout: str) -> None:
    program = lmpipe.Predict("question, tools: list[Tool] -> calls: ToolCalls", layout=layout)
    calls = [{"name": "weather", "arguments": {"city": "Rome"}}]
    lm = lmpipe.ScriptedLM([program.reply({"calls": calls})])
    with lmpipe.using(lm=lm):
        result = program(question="Rain?", tools=[lmpipe.Tool.of(weather)])
    assert [(call.name, call.arguments) for call in result.calls] == [("weather", {"city": "Rome"})]


def test_the_schema_for_an_lm_has_no_docstrings() -> None:
    shown = lmpipe.Predict("question -> calls: ToolCalls").messages(question="x")[0].text
    assert "Args" not in shown
