"""Tools of DSPy's agents that are declared as pure, or with effects."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from helpers.dspy_programs import BY_NAME
from helpers.dspy_stub import recording_stub

import lmpipe
from lmpipe.errors import ConfigError, SignatureError
from lmpipe.integrations.dspy import dspy_tool, from_dspy
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import make_runtime

Ran = Callable[[], list[str]]


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Ran:
    """The cities that the tool ran for, which it prints: a pure one changes no data around it."""

    def cities() -> list[str]:
        return capsys.readouterr().out.split()

    return cities


def weather(city: str, days: int = 1) -> dict[str, Any]:
    """Tell the weather of a city."""
    sys.stdout.write(f"{city}\n")
    return {"city": city, "degrees": [10 + days]}


async def weather_later(city: str, days: int = 1) -> dict[str, Any]:
    """Tell the weather of a city."""
    return weather(city, days)


def pretended(city: str, days: int = 1) -> dict[str, Any]:
    return {"city": "nowhere", "degrees": []}


def broken(city: str) -> str:
    """Tell the weather of a city."""
    raise KeyError(city)


def agent(tool: Any) -> dspy.ReAct:
    return dspy.ReAct("question -> answer", tools=[tool], max_iters=3)


def scripted(name: str) -> lmpipe.ScriptedLM:
    """An agent that uses the tool once, and then answers with what it saw."""

    def reply(request: Any) -> str:
        turn = request.messages[-1].text
        if "`[[ ## next_thought ## ]]`" not in turn:
            return f"[[ ## reasoning ## ]]\nso\n[[ ## answer ## ]]\n{observed(turn)}"
        if "observation_0" in turn:
            return step("finish", "{}")
        return step(name, '{"city": "Bern"}')

    return lmpipe.ScriptedLM(reply)


def observed(turn: str) -> str:
    return turn.partition("[[ ## observation_0 ## ]]\n")[2].partition("\n")[0]


def step(name: str, arguments: str) -> str:
    return (
        f"[[ ## next_thought ## ]]\nlook\n[[ ## next_tool_name ## ]]\n{name}\n"
        f"[[ ## next_tool_args ## ]]\n{arguments}"
    )


SEEN = '{"city": "Bern", "degrees": [11]}'
ROW: Any = lmpipe.Example(question="How is it?", answer=SEEN).with_inputs("question")


def right(example: Any, pred: Any, trace: Any = None) -> bool:
    return bool(example.answer == pred.answer)


def cached(folder: Path) -> Runtime:
    return make_runtime(cache=folder)


def run(tool: Any, name: str, **settings: Any) -> Any:
    with lmpipe.using(lm=scripted(name), **settings):
        return from_dspy(agent(tool))(question="How is it?")


@pytest.mark.parametrize("function", [weather, weather_later])
def test_an_lm_sees_the_same_tool(function: Callable[..., Any]) -> None:
    plain, declared = dspy.Tool(function), dspy_tool(function, pure=True)
    assert (declared.name, declared.desc, declared.args) == (plain.name, plain.desc, plain.args)


def test_the_requests_are_those_of_dspy() -> None:
    case = BY_NAME["react"]
    module = case.make()
    declared = module.deepcopy()
    agents = [part for _, part in declared.named_sub_modules(dspy.ReAct)]
    for one in agents:
        one.tools = {
            name: tool if name == "finish" else dspy_tool(tool, pure=True)
            for name, tool in one.tools.items()
        }
    assert agents
    example = case.examples(3)
    inputs = {name: example[name] for name in example.inputs()}
    with recording_stub(case.values) as stub:
        for one in (module, declared):
            with lmpipe.using(lm=stub.lm(), runtime=Runtime()):
                from_dspy(one, max_calls=20)(**inputs)
        asked = stub.take()
    assert asked[: len(asked) // 2] == asked[len(asked) // 2 :]


def test_a_pure_tool_runs_once(ran: Ran, tmp_path: Path) -> None:
    runtime = cached(tmp_path)
    for _ in range(2):
        result = run(dspy_tool(weather, pure=True), "weather", runtime=runtime)
        assert result.answer == SEEN
    assert ran() == ["Bern"]


async def test_a_pure_tool_runs_once_in_coroutines(ran: Ran, tmp_path: Path) -> None:
    tool = dspy_tool(weather_later, pure=True)
    with lmpipe.using(lm=scripted("weather_later"), runtime=cached(tmp_path)):
        for _ in range(2):
            result = await from_dspy(agent(tool)).acall(question="How is it?")
            assert result.answer == SEEN
    assert ran() == ["Bern"]


async def test_a_sync_tool_runs_in_coroutines() -> None:
    with lmpipe.using(lm=scripted("weather")):
        result = await from_dspy(agent(dspy_tool(weather, pure=True))).acall(question="How is it?")
    assert result.answer == SEEN


def test_a_tool_that_is_not_declared_runs_each_time(ran: Ran, tmp_path: Path) -> None:
    runtime = cached(tmp_path)
    for _ in range(2):
        run(weather, "weather", runtime=runtime)
    assert ran() == ["Bern", "Bern"]


def test_a_new_version_of_a_pure_tool_runs_again(ran: Ran, tmp_path: Path) -> None:
    runtime = cached(tmp_path)
    for version in ("May", "May", "June"):
        run(dspy_tool(weather, pure=version), "weather", runtime=runtime)
    assert ran() == ["Bern", "Bern"]


def test_a_tool_with_effects_runs_in_a_call(ran: Ran) -> None:
    assert run(dspy_tool(weather, effects=True), "weather").answer == SEEN
    assert ran() == ["Bern"]


def test_a_fake_takes_the_place_of_effects_in_an_evaluation(ran: Ran) -> None:
    tool = dspy_tool(weather, effects=True, fake=pretended)
    with lmpipe.using(lm=scripted("weather")):
        evaluation = lmpipe.evaluate(agent(tool), [ROW], right, progress=False)
    assert evaluation.rows[0].prediction["answer"] == '{"city": "nowhere", "degrees": []}'
    assert ran() == []


def test_a_tool_with_effects_and_no_fake_stops_an_evaluation(ran: Ran) -> None:
    tool = dspy_tool(weather, effects=True)
    with (
        lmpipe.using(lm=scripted("weather")),
        pytest.raises(ConfigError, match=r"weather has effects.*"),
    ):
        lmpipe.evaluate(agent(tool), [ROW], right, progress=False)
    assert ran() == []


def test_an_error_is_shown_to_the_lm_as_by_dspy() -> None:
    answer = run(dspy_tool(broken, pure=True), "broken").answer
    assert answer.startswith("Execution error in broken:")


def test_outside_of_lmpipe_it_is_the_function() -> None:
    tool = dspy_tool(weather, effects=True, fake=pretended)
    assert tool(city="Bern") == {"city": "Bern", "degrees": [11]}


def test_a_pure_tool_with_effects_is_refused() -> None:
    with pytest.raises(SignatureError, match="choose one of them"):
        dspy_tool(weather, pure=True, effects=True)


def test_something_else_is_refused() -> None:
    something: Any = 5
    with pytest.raises(ConfigError, match=r"dspy_tool\(5\): give a function"):
        dspy_tool(something)


class Helper(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.short = dspy.Predict("text -> short")

    def shorten(self, text: str) -> str:
        """Shorten a text."""
        return str(self.short(text=text).short)


def test_a_predictor_behind_a_declared_tool_is_found_and_asked_through_lmpipe() -> None:
    helper = Helper()
    module = agent(dspy_tool(helper.shorten, pure=True))

    def reply(request: Any) -> str:
        turn = request.messages[-1].text
        if "`[[ ## short ## ]]`" in turn:
            return "[[ ## short ## ]]\nbrief"
        if "`[[ ## next_thought ## ]]`" not in turn:
            return f"[[ ## reasoning ## ]]\nso\n[[ ## answer ## ]]\n{observed(turn)}"
        used = "observation_0" in turn
        return step("finish", "{}") if used else step("shorten", '{"text": "long"}')

    lm = lmpipe.ScriptedLM(reply)
    with lmpipe.using(lm=lm):
        result = from_dspy(module, max_calls=20)(question="How is it?")
    assert result.answer == "brief"
    assert len(lm.requests) == 4
