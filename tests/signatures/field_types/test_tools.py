"""`Tool` and `ToolCalls`: tools as inputs, and chosen calls as outputs."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable

import pydantic
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


class City(pydantic.BaseModel):
    name: str


class Atlas:
    """An atlas."""

    def look_up(self, city: City, zoom: int = 1) -> str:
        return city.name * zoom

    def __call__(self, city: City, zoom: int = 1) -> str:
        return self.look_up(city, zoom)


@pytest.mark.parametrize(
    "function", [Atlas().look_up, Atlas(), functools.partial(Atlas().look_up, zoom=2)]
)
def test_types_of_the_module_are_known_to_methods_objects_and_partial_functions(
    function: Callable[..., str],
) -> None:
    tool = lmpipe.Tool.of(function, name="look_up")
    assert list(tool.parameters["$defs"]) == ["City"]
    assert lmpipe.run_tool_sync(tool, {"city": {"name": "Rome"}, "zoom": 1}).text == "Rome"


def test_types_that_only_a_function_knows_are_told_with_a_remedy() -> None:
    class Local(pydantic.BaseModel):
        name: str

    def find(place: Local) -> None: ...

    with pytest.raises(SignatureError, match="'Local' is not defined: define its types at the top"):
        lmpipe.Tool.of(find)


def test_a_parameter_without_a_schema_is_refused() -> None:
    class Canvas: ...

    def draw(canvas: Canvas) -> None: ...

    with pytest.raises(SignatureError, match="the tool draw"):
        lmpipe.Tool.of(draw)


@pytest.mark.parametrize("function", [int, len])
def test_what_has_no_typed_parameters_is_refused(function: Callable[..., int]) -> None:
    with pytest.raises(SignatureError, match="give a function whose parameters have types"):
        lmpipe.Tool.of(function)


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


def test_a_name_and_a_description_replace_those_of_the_function() -> None:
    tool = lmpipe.Tool.of(weather, name="forecast", description="Look it up.")
    assert (tool.name, tool.description) == ("forecast", "Look it up.")


def test_another_name_keeps_the_function_and_its_declarations() -> None:
    tool = lmpipe.Tool.of(weather, effects=True).named("get_weather")
    assert (tool.name, tool.description) == ("get_weather", "Tell the weather.")
    assert tool.function is not None
    assert (tool.function.function, tool.function.effects) == (weather, True)
    with pytest.raises(SignatureError, match="give a name"):
        tool.named("")


def test_the_function_is_not_part_of_the_value() -> None:
    tool = lmpipe.Tool.of(weather, effects=True)
    read = lmpipe.Tool.model_validate(tool.model_dump())
    assert (read, hash(read)) == (tool, hash(tool))
    assert read.function is None
    assert set(lmpipe.Tool.model_json_schema()["properties"]) == {
        "name",
        "description",
        "parameters",
    }


def test_a_pickled_tool_keeps_its_function() -> None:
    tool = lmpipe.Tool.of(weather, pure="v2")
    assert tool.function is not None
    tool.function.check({"city": "Rome"})  # what it remembers is left out
    copy = pickle.loads(pickle.dumps(tool))
    assert copy.function == tool.function


def test_effects_and_pure_exclude_each_other() -> None:
    with pytest.raises(SignatureError, match="weather is declared with effects and as pure"):
        lmpipe.Tool.of(weather, effects=True, pure=True)


def test_a_fake_must_be_a_function() -> None:
    with pytest.raises(SignatureError, match="the fake of the tool weather is 'sunny'"):
        lmpipe.Tool.of(weather, effects=True, fake="sunny")  # type: ignore[arg-type]


def test_declarations_are_added_to_a_copy() -> None:
    tool = lmpipe.Tool.of(weather)
    declared = tool.declare(effects=True)
    assert tool.function is not None
    assert declared.function is not None
    assert (tool.function.effects, declared.function.effects) == (False, True)


def test_a_mere_description_cannot_be_declared() -> None:
    with pytest.raises(SignatureError, match="the tool search has no function"):
        lmpipe.Tool(name="search").declare(pure=True)


def test_only_a_function_becomes_a_tool() -> None:
    with pytest.raises(SignatureError, match="'search': give a function"):
        lmpipe.Tool.of("search")  # type: ignore[arg-type]
