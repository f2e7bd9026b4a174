"""`CodeAct`: an agent acts by code, in which its tools are functions."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from helpers.code_replies import code, outputs, run, shown
from helpers.sandboxes import needs_monty, plain_python

import lmpipe
from lmpipe.errors import (
    ConfigError,
    LMRequestError,
    LMUnavailableError,
    RefusalError,
    SignatureError,
)
from lmpipe.lm.events import AnyEvent, PredictorStarted
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.stream_events import Partial
from lmpipe.modules.module import run_traced
from lmpipe.settings import using

pytestmark = needs_monty

POPULATIONS = {"Ostrava": 280_000, "Brno": 400_000}


def population(city: str) -> int:
    """Return the population of a city."""
    return POPULATIONS[city]


class Larger(lmpipe.Signature):
    """Find the larger city."""

    cities: list[str] = lmpipe.Input()
    larger: str = lmpipe.Output()
    population: int = lmpipe.Output()


class Total(lmpipe.Signature):
    """Add up the populations."""

    cities: list[str] = lmpipe.Input()
    total: int = lmpipe.Output()


GIVEN: dict[str, Any] = {"cities": ["Ostrava", "Brno"]}
LOOK = code("found = [population(city) for city in cities]\nprint(found)", "I look.")
SUBMIT = code("submit(total=sum(found))", "I add.")


def agent(**options: Any) -> lmpipe.CodeAct[..., Total]:
    return lmpipe.CodeAct(Total, [population], **options)


def test_code_calls_tools_and_keeps_its_variables_between_steps() -> None:
    lm = lmpipe.ScriptedLM([LOOK, SUBMIT])
    result = run(agent(), lm, **GIVEN)
    assert (type(result), result.total) == (Total, 680_000)
    trajectory = lmpipe.trajectory_of(result)
    assert [step.thought for step in trajectory] == ["I look.", "I add."]
    assert trajectory.finished
    assert trajectory.actions[-1].arguments == {"total": 680_000}


def test_the_next_step_sees_the_code_and_its_output() -> None:
    lm = lmpipe.ScriptedLM([LOOK, SUBMIT])
    run(agent(), lm, **GIVEN)
    expected = (
        "[[trajectory]]\nStep 1\nThought: I look.\nCode:\n```python\n"
        "found = [population(city) for city in cities]\nprint(found)\n```\n"
        "Output:\n[280000, 400000]"
    )
    assert expected in shown(lm)[1]


def test_the_first_step_sees_that_there_are_none() -> None:
    lm = lmpipe.ScriptedLM([code("submit(3)")])
    run(agent(), lm, **GIVEN)
    assert "[[trajectory]]\n(no steps)" in shown(lm)[0]


def test_each_step_sees_how_many_are_left() -> None:
    lm = lmpipe.ScriptedLM([LOOK, SUBMIT])
    run(agent(max_steps=3), lm, **GIVEN)
    assert "[[steps_left]]\n3" in shown(lm)[0]
    assert "[[steps_left]]\n2" in shown(lm)[1]


def test_an_error_of_a_tool_is_seen_and_the_agent_goes_on() -> None:
    lm = lmpipe.ScriptedLM([code("population('Plzeň')"), code("submit(total=1)")])
    assert run(agent(), lm, **GIVEN).total == 1
    assert "error: RuntimeError: KeyError: 'Plzeň' (line 1)" in shown(lm)[1]


def test_wrong_arguments_are_an_error_that_names_them() -> None:
    lm = lmpipe.ScriptedLM([code("population(city=[1])"), code("submit(total=1)")])
    run(agent(), lm, **GIVEN)
    assert "the arguments are wrong:\ncity: Input should be a valid string" in shown(lm)[1]


def test_an_error_of_a_tool_that_no_code_can_mend_ends_the_run() -> None:
    def ask(city: str) -> str:
        raise LMUnavailableError("the server is down")

    lm = lmpipe.ScriptedLM([code("ask('Brno')")])
    with pytest.raises(LMUnavailableError, match="is down"):
        run(lmpipe.CodeAct(Total, [ask]), lm, **GIVEN)


def test_code_that_gives_no_outputs_is_read_by_an_lm_after_the_last_step() -> None:
    read = outputs(reasoning="It is printed.", total=680_000)
    lm = lmpipe.ScriptedLM([LOOK, code("print(sum(found))"), read])
    result = run(agent(max_steps=2), lm, **GIVEN)
    assert (type(result), result.total) == (Total, 680_000)
    assert "Output:\n680000" in shown(lm)[2]
    assert len(lmpipe.trajectory_of(result)) == 2
    assert not lmpipe.trajectory_of(result).finished


@pytest.mark.parametrize("reply", ["[[reasoning]]\nI know.\n\n[[code]]\n", "neither"])
def test_without_code_the_outputs_are_read_from_the_steps(reply: str) -> None:
    read = outputs(reasoning="It is printed.", total=680_000)
    lm = lmpipe.ScriptedLM([LOOK, reply, read])
    assert run(agent(retries=0), lm, **GIVEN).total == 680_000


def test_an_lm_that_declines_ends_the_run() -> None:
    lm = lmpipe.ScriptedLM([LOOK, Reply("", refusal="I may not.")])
    with pytest.raises(RefusalError):
        run(agent(), lm, **GIVEN)


def test_outputs_that_are_missing_or_unknown_are_errors_of_the_code() -> None:
    replies = [code("submit(sum=1)"), code("submit()"), code("submit(1, 2)"), code("submit(1)")]
    lm = lmpipe.ScriptedLM(replies)
    assert run(agent(), lm, **GIVEN).total == 1
    assert "TypeError: submit(total=…) does not take 'sum'" in shown(lm)[1]
    assert "TypeError: submit(total=…) needs 'total'" in shown(lm)[2]
    assert "TypeError: submit(total=…) takes 1 values, and 2 were given" in shown(lm)[3]


def test_code_that_reaches_a_limit_is_a_step_like_any_other() -> None:
    sandbox = lmpipe.MontySandbox(limits=lmpipe.SandboxLimits(seconds=0.3))
    again = code("submit(sum(population(city) for city in cities))")
    lm = lmpipe.ScriptedLM([LOOK, code("while True: pass"), code("print(found)"), again])
    assert run(agent(sandbox=sandbox), lm, **GIVEN).total == 680_000
    assert "ran for more than 0.3 s\n(the names that earlier code defined are gone)" in shown(lm)[2]
    assert "name 'found' is not defined" in shown(lm)[3]


def test_steps_that_exceed_the_context_are_shortened() -> None:
    def script(request: Request) -> str:
        if "a" * 1000 in request.messages[-1].text:
            raise LMRequestError("this model's maximum context length is 100 tokens")
        return code("submit(1)") if "left out" in request.messages[-1].text else code("'a' * 3000")

    lm = lmpipe.ScriptedLM(script)
    result = run(agent(output_chars=4000), lm, **GIVEN)
    assert result.total == 1
    # The trajectory of the result is whole.
    assert "a" * 3000 in lmpipe.trajectory_of(result).actions[0].text


def test_outputs_are_read_from_shorter_steps_if_the_prompt_is_too_long() -> None:
    asked: list[Request] = []

    def script(request: Request) -> str:
        prompt = "".join(message.text for message in request.messages)
        if "steps_left" in prompt:
            return code("'a' * 3000")
        asked.append(request)
        if "a" * 1000 in prompt:
            raise LMRequestError("this model's maximum context length is 100 tokens")
        return outputs(reasoning="r", total=1)

    program, events = agent(max_steps=1, output_chars=4000), list[AnyEvent]()
    with scope(max_calls=program.calls_per_run()), lmpipe.observing(events.append):
        assert run(program, lmpipe.ScriptedLM(script), **GIVEN).total == 1
    assert len(asked) == 2
    read = [event.predictor for event in events if isinstance(event, PredictorStarted)]
    assert read == ["act", "extract", "extract"]


def test_a_prompt_that_is_too_long_is_no_further_call_than_plans_count() -> None:
    def script(request: Request) -> str:
        if "steps_left" in "".join(message.text for message in request.messages):
            return LOOK
        raise LMRequestError("this model's maximum context length is 100 tokens")

    lm = lmpipe.ScriptedLM(script)
    with pytest.raises(LMRequestError, match="context length"):
        run(agent(max_steps=1, retries=0), lm, **GIVEN)
    assert len(lm.requests) == 2


def test_the_prompt_describes_the_functions() -> None:
    prompt = agent().act.messages(**GIVEN, trajectory=lmpipe.Trajectory(), steps_left=2)[0].text
    assert "population(city: str): Return the population of a city." in prompt
    assert "submit(total=…)" in prompt


def test_the_number_of_calls_is_known_and_enough() -> None:
    program = agent(max_steps=2, retries=0)
    assert program.calls_per_run() == 2 + 1
    read = outputs(reasoning="r", total=1)
    with scope(max_calls=3):
        assert run(program, lmpipe.ScriptedLM([LOOK, LOOK, read]), **GIVEN).total == 1


async def test_a_trace_has_the_tools_that_code_called_in_their_order() -> None:
    trace = lmpipe.Trace()
    with using(lm=lmpipe.ScriptedLM([LOOK, SUBMIT]), runtime=Runtime()):
        await run_traced(agent(), GIVEN, trace)
    assert [step.tool for step in trace.tools] == ["python", "population", "population", "python"]
    assert trace.tools[1].arguments == {"city": "Ostrava"}
    assert [step.predictor for step in trace.steps] == ["TotalCode", "TotalCode"]


def test_a_tool_with_effects_is_faked_in_an_evaluation() -> None:
    sent: list[str] = []
    program = lmpipe.CodeAct("text -> done: bool", [_sender(sent)])
    lm = lmpipe.ScriptedLM(lambda _: code("submit(send(text) == 'faked')"))
    rows = [lmpipe.Example(text="hello", done=True).with_inputs("text")]
    with using(runtime=Runtime()):
        found = lmpipe.evaluate(program, rows, lmpipe.metrics.exact_match("done"), lm=lm)
    assert (found.score, sent) == (1, [])


def _sender(sent: list[str]) -> lmpipe.Tool:
    def send(text: str) -> str:
        sent.append(text)
        return "sent"

    def fake(text: str) -> str:
        return "faked"

    return lmpipe.Tool.of(send, effects=True, fake=fake)


def test_it_streams_the_code_that_it_writes() -> None:
    lm = lmpipe.ScriptedLM([LOOK, SUBMIT])
    with using(lm=lm, runtime=Runtime()):
        stream = agent().stream(**GIVEN)
        written = [
            event.text
            for event in stream
            if isinstance(event, Partial) and event.field == "code" and event.predictor == "act"
        ]
        assert stream.result.total == 680_000
    assert "submit(total=sum(found))" in "".join(written)


def test_it_can_be_bound_and_pickled() -> None:
    program = agent()
    again = pickle.loads(pickle.dumps(program.bind(program.state())))
    assert run(again, lmpipe.ScriptedLM([LOOK, SUBMIT]), **GIVEN).total == 680_000


def test_it_runs_in_another_sandbox() -> None:
    lm = lmpipe.ScriptedLM([code("import statistics\nsubmit(statistics.mode([1, 2, 2]))")])
    assert run(agent(sandbox=plain_python()), lm, **GIVEN).total == 2


def test_a_field_may_not_have_the_name_of_a_tool() -> None:
    with pytest.raises(ConfigError, match="the tool 'population' has the name of another tool"):
        lmpipe.CodeAct(Larger, [population])


def _named(name: str) -> lmpipe.Tool:
    return lmpipe.Tool.of(population, name=name)


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([_named("a b")], "code cannot call a tool named 'a b'"),
        ([_named("class")], "code cannot call a tool named 'class'"),
        ([_named("print")], "'print' has the name of"),
        ([_named("submit")], "'submit' has the name of"),
        ([population, population], "'population' has the name of"),
        ([lmpipe.Tool(name="bare")], "the tool bare has no function"),
        ({"population": population}, "give a list"),
    ],
)
def test_tools_are_checked(tools: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lmpipe.CodeAct(Total, tools)


class AskPopulation(lmpipe.Signature):
    """How many people live in the city?"""

    city: str = lmpipe.Input()
    people: int = lmpipe.Output()


def with_module(**options: Any) -> lmpipe.CodeAct[..., Total]:
    asked = lmpipe.Predict(AskPopulation, retries=0)
    return lmpipe.CodeAct(Total, [asked], max_steps=2, retries=0, **options)


ADD = code("submit(sum(AskPopulation(city=city)['people'] for city in cities))")


def test_a_module_is_a_tool_and_a_part_of_the_agent() -> None:
    program = with_module()
    assert [*program.predictors()] == ["act", "extract", "modules[AskPopulation]"]
    state = program.state()
    learned = state["modules[AskPopulation]"].replace(instruction="Say how many.")
    bound = program.bind(state.update({"modules[AskPopulation]": learned}))
    lm = lmpipe.ScriptedLM([ADD, "[[people]]\n1", "[[people]]\n2"])
    assert run(bound, lm, **GIVEN).total == 3
    assert lm.requests[1].messages[0].text.startswith("Say how many.")


def test_calls_of_a_module_are_limited_and_counted() -> None:
    program = with_module(max_module_calls=1)
    assert program.calls_per_run() == 2 + 1 + 1
    lm = lmpipe.ScriptedLM([ADD, "[[people]]\n1", code("submit(1)")])
    assert run(program, lm, **GIVEN).total == 1
    assert "error: RuntimeError: AskPopulation may be called 1 time at most" in shown(lm)[2]


def test_a_misspelled_option_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(SignatureError, match="did you mean 'max_steps'"):
        lmpipe.CodeAct(Total, [], max_step=3)


def test_names_that_it_uses_are_no_fields() -> None:
    with pytest.raises(SignatureError, match="rename it"):
        lmpipe.CodeAct("trajectory -> answer", [])
