"""The predictor of an agent's steps: what is learned shows in both protocols."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.agent_replies import PROTOCOLS, agent_lm, results_in, step_in
from helpers.layouts import TEXT_LAYOUTS

import lmpipe
from lmpipe.data.identity import ExampleIdentity
from lmpipe.errors import RecipeError
from lmpipe.lm.parts import ReasoningPart, ToolCall, ToolResult
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.settings import using
from lmpipe.state.program_state import Demo, ProgramState, Retrieval, to_plain
from lmpipe.state.trace import Trace

both = pytest.mark.parametrize("protocol", PROTOCOLS)


class Ask(lmpipe.Signature):
    """Answer with the help of the books."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


def search(query: str) -> str:
    """Search the books."""
    return f"about {query}"


def demo(question: str, *, finished: bool = True, **changes: Any) -> Demo:
    action = {"tool": "search", "arguments": {"query": question}, "observation": "a book"}
    steps = [{"thought": "I search.", "actions": [action]}] if finished else []
    outputs = {
        "next_thought": "Found." if finished else "I look.",
        "next_tool": "finish" if finished else "search",
        "next_args": {"answer": "a"} if finished else {"query": question},
        "more_calls": [],
    }
    inputs = {"question": question, "trajectory": {"steps": steps, "left_out": 0}}
    return Demo(inputs=inputs, outputs={**outputs, **changes})


def shown(protocol: str, agent: lmpipe.ReAct[..., Any], **inputs: Any) -> Request:
    """The request of an agent's first step."""
    lm = agent_lm(protocol, ("", ("finish", {"answer": "x"})))
    with using(lm=lm, runtime=Runtime()):
        agent(**inputs)
    return lm.requests[0]


def learned(*demos: Demo, **changes: Any) -> lmpipe.ReAct[..., Any]:
    agent = lmpipe.ReAct(Ask, [search])
    state = agent.state()
    return agent.bind(state.replace(act=state["act"].replace(demos=demos, **changes)))


def test_a_demonstration_is_shown_as_text() -> None:
    request = shown("text", learned(demo("Who?")), question="When?")
    assert [(turn.role, turn.text) for turn in request.messages[1:]] == [
        ("user", "[[question]]\nWho?"),
        ("assistant", step_in("text", "I search.", ("search", {"query": "Who?"}))),
        ("user", "The result of search:\na book"),
        ("assistant", step_in("text", "Found.", ("finish", {"answer": "a"}))),
        ("user", "[[question]]\nWhen?"),
    ]


def test_a_demonstration_is_shown_as_native_calls() -> None:
    request = shown("native", learned(demo("Who?")), question="When?")
    first, result, last, ended = request.messages[2:6]
    assert [turn.role for turn in request.messages[1:]] == [
        *("user", "assistant", "tool", "assistant", "tool"),
        "user",
    ]
    assert first.text == "I search."
    assert calls_in(first) == [("search", '{"query":"Who?"}')]
    assert result.text == "a book"
    assert calls_in(last) == [("finish", '{"answer":"a"}')]
    assert ended.text == "The task is done."


def calls_in(turn: lmpipe.Message) -> list[tuple[str, str]]:
    return [(part.name, part.arguments) for part in turn.content if isinstance(part, ToolCall)]


def test_each_native_call_has_an_id_and_its_result() -> None:
    demos = [demo("Who?"), demo("Who?", next_thought="Again."), demo("How?", finished=False)]
    request = shown("native", learned(*demos), question="When?")
    parts = [part for turn in request.messages for part in turn.content]
    calls = [part.id for part in parts if isinstance(part, ToolCall)]
    results = [part.call_id for part in parts if isinstance(part, ToolResult)]
    assert len(set(calls)) == len(calls) == 5
    assert calls == results


MORE = [{"name": "search", "arguments": {"query": "more"}}]


def test_thoughts_of_a_demonstration_are_not_sent() -> None:
    # Their provider would not recognise them in another conversation.
    thinking = demo("Who?")
    inputs = {"question": "Who?", "trajectory": to_plain(thinking.inputs["trajectory"])}
    inputs["trajectory"]["steps"][0] |= {"reasoning": "I must.", "signature": "s1"}
    request = shown("native", learned(thinking.model_copy(update={"inputs": inputs})), question="?")
    parts = [part for turn in request.messages for part in turn.content]
    assert not [part for part in parts if isinstance(part, ReasoningPart)]


def test_several_calls_of_a_demonstration_are_shown_natively() -> None:
    two = demo("Who?", finished=False, more_calls=MORE)
    request = shown("native", learned(two), question="When?")
    assert [name for name, _ in calls_in(request.messages[2])] == ["search", "search"]


def test_of_several_calls_of_a_demonstration_text_shows_the_first() -> None:
    two = demo("Who?", finished=False, more_calls=MORE)
    request = shown("text", learned(two), question="When?")
    assert request.messages[2].text == step_in("text", "I look.", ("search", {"query": "Who?"}))


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_text_has_the_layout_of_the_state(layout: str) -> None:
    agent = learned(demo("Who?"), layout=layout)
    with using(lm=lmpipe.ScriptedLM()):
        turns = agent.act.messages(question="When?", trajectory=lmpipe.Trajectory())
    assert "Found." in turns[4].text
    assert "The tools:" in turns[0].text


@both
def test_demonstrations_are_chosen_for_each_question(protocol: str) -> None:
    pool = tuple(demo(question) for question in ("Who wrote it?", "When was it?", "Where was it?"))
    agent = learned(retrieval=Retrieval(pool=pool, k=1))
    request = shown(protocol, agent, question="When did he die?")
    assert "[[question]]\nWhen was it?" in request.messages[1].text
    assert results_in(request)[0] == "a book"


@both
def test_an_example_is_not_shown_its_own_demonstration(protocol: str) -> None:
    example = lmpipe.Example(question="Who?", answer="a").with_inputs("question")
    with scope(example=ExampleIdentity.of(example)):
        request = shown(protocol, learned(demo("Who?"), demo("How?")), question="Who?")
    text = "\n".join(turn.text for turn in request.messages)
    assert text.count("Who?") == 1
    assert "How?" in text


@both
def test_a_trace_gives_the_same_demonstration(protocol: str) -> None:
    lm = agent_lm(
        protocol,
        ("I search.", ("search", {"query": "x"})),
        ("Found.", ("finish", {"answer": "a"})),
    )
    trace = Trace()
    with using(lm=lm, runtime=Runtime()), scope(trace=trace):
        learned()(question="Who?")
    last = trace.of("act")[-1]
    assert last.outputs == {
        "next_thought": "Found.",
        "next_tool": "finish",
        "next_args": {"answer": "a"},
        "more_calls": [],
    }
    action = {
        "tool": "search",
        "arguments": {"query": "x"},
        "observation": "about x",
        "error": False,
    }
    steps = [{"thought": "I search.", "actions": [action]}]
    assert last.inputs == {"question": "Who?", "trajectory": {"steps": steps, "left_out": 0}}


@both
def test_the_first_turns_of_the_steps_of_a_run_are_the_same(protocol: str) -> None:
    # So a server reuses what it knows of them.
    lm = agent_lm(
        protocol,
        ("I search.", ("search", {"query": "x"})),
        ("I search again.", ("search", {"query": "y"})),
        ("Found.", ("finish", {"answer": "a"})),
    )
    with using(lm=lm, runtime=Runtime()):
        learned(demo("How?"))(question="Who?")
    first, second, third = (request.messages for request in lm.requests)
    assert second[: len(first)] == first
    assert third[: len(second)] == second


@both
def test_a_state_of_other_tools_does_not_fit(protocol: str) -> None:
    state = lmpipe.ReAct(Ask, [search]).state()

    def look(at: str) -> str:
        """Look."""
        return at

    with pytest.raises(lmpipe.errors.ArtifactError, match="act: learned for another signature"):
        lmpipe.ReAct(Ask, [look]).bind(state)


def test_a_state_is_stored_and_read() -> None:
    state = learned(demo("Who?")).state()
    assert ProgramState.from_bytes(state.to_bytes()) == state


def test_weights_are_trained_on_text() -> None:
    agent = learned(demo("Who?"))
    step = demo("How?")
    with using(lm=agent_lm("text")):
        reply = agent.act.reply(dict(step.outputs))
        turns = agent.act.conversation(dict(step.inputs))
    assert reply == step_in("text", "Found.", ("finish", {"answer": "a"}))
    assert turns[-1].text == "The result of search:\na book"


def test_weights_are_not_trained_on_native_calls() -> None:
    agent = learned()
    with (
        using(lm=agent_lm("native")),
        pytest.raises(RecipeError, match=r"write ReAct\(…, protocol='text'\)"),
    ):
        agent.act.reply(dict(demo("How?").outputs))


def test_the_prompt_of_native_calls_can_be_rendered() -> None:
    with using(lm=agent_lm("native")):
        turns = learned().act.conversation(dict(demo("How?").inputs))
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "tool"]


@pytest.mark.parametrize(("constrained", "choice"), [(True, "required"), (False, "auto")])
def test_an_embedded_lm_has_to_call_a_tool(constrained: bool, choice: str) -> None:
    agent = lmpipe.ReAct(Ask, [search], protocol="native", constrained=constrained)
    assert agent.act.prompt_for(lmpipe.LM("local")).tool_choice == choice
