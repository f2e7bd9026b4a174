"""`ReAct`: an agent calls tools, sees their results, and gives a typed answer."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any, Literal

import pydantic
import pytest
from helpers.agent_replies import PROTOCOLS, Step, agent_lm, as_calls, results_in, scripted, step_in

import lmpipe
from lmpipe.errors import CallError, ConfigError, LMRequestError, RefusalError, SignatureError
from lmpipe.lm.parts import ReasoningPart, ToolCall, media_in
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.stream_events import Partial, ToolCalled
from lmpipe.settings import using
from lmpipe.signatures.signature import spec_of

both = pytest.mark.parametrize("protocol", PROTOCOLS)


class Add(lmpipe.Signature):
    """Add up the numbers."""

    a: int = lmpipe.Input()
    b: int = lmpipe.Input()
    total: int = lmpipe.Output(desc="the sum")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


CALL: Step = ("Add them.", ("add", {"a": 1, "b": 2}))
FINISH: Step = ("It is 3.", ("finish", {"total": 3}))
EXTRACTED = "[[reasoning]]\nfrom the steps\n\n[[total]]\n3"


def run(agent: Any, lm: lmpipe.LM, **inputs: Any) -> Any:
    with using(lm=lm, runtime=Runtime()):
        return agent(**inputs)


@both
def test_the_answer_is_a_result_of_the_signature(protocol: str) -> None:
    result = run(lmpipe.ReAct(Add, [add]), agent_lm(protocol, CALL, FINISH), a=1, b=2)
    assert type(result) is Add
    assert (result.a, result.total) == (1, 3)


@both
def test_the_trajectory_has_thoughts_calls_and_results(protocol: str) -> None:
    result = run(lmpipe.ReAct(Add, [add]), agent_lm(protocol, CALL, FINISH), a=1, b=2)
    trajectory = lmpipe.trajectory_of(result)
    assert [step.thought for step in trajectory] == ["Add them.", "It is 3."]
    assert [(one.tool, one.arguments, one.observation) for one in trajectory.actions] == [
        ("add", {"a": 1, "b": 2}, "3"),
        ("finish", {"total": 3}, "The task is done."),
    ]
    assert trajectory.finished


@both
def test_the_lm_is_shown_the_results(protocol: str) -> None:
    lm = agent_lm(protocol, CALL, FINISH)
    run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    assert [results_in(request) for request in lm.requests] == [[], ["3"]]


def test_an_lm_that_takes_tools_is_offered_them() -> None:
    lm = agent_lm("native", FINISH)
    run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    (request,) = lm.requests
    assert [tool.name for tool in request.tools] == ["add", "finish"]
    assert request.tool_choice == "auto"


def test_an_lm_that_is_not_known_to_take_tools_is_told_of_them() -> None:
    lm = lmpipe.ScriptedLM([step_in("text", *FINISH)])
    run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    system = lm.requests[0].messages[0].text
    assert not lm.requests[0].tools
    assert '- add: Add two numbers.\n  Arguments: {"a": integer, "b": integer}' in system
    assert "- finish:" in system


@both
def test_the_protocol_can_be_chosen(protocol: Any) -> None:
    lm = lmpipe.ScriptedLM([step_in(protocol, *FINISH)])  # it is not known what it takes
    run(lmpipe.ReAct(Add, [add], protocol=protocol), lm, a=1, b=2)
    assert bool(lm.requests[0].tools) == (protocol == "native")


def test_native_calls_of_an_lm_without_tools_are_refused() -> None:
    lm = lmpipe.ScriptedLM([], takes={"tools": False})
    with pytest.raises(ConfigError, match="protocol='native' needs an LM that takes tools"):
        run(lmpipe.ReAct(Add, [add], protocol="native"), lm, a=1, b=2)


def test_calls_of_one_turn_run_at_the_same_time() -> None:
    met = asyncio.Barrier(2)

    async def look(at: str) -> str:
        await met.wait()
        return f"seen {at}"

    two = as_calls("Look.", ("look", {"at": "x"}), ("look", {"at": "y"}))
    lm = scripted("native", [two, step_in("native", *FINISH)])
    result = run(lmpipe.ReAct(Add, [look]), lm, a=1, b=2)
    step = lmpipe.trajectory_of(result)[0]
    assert [action.observation for action in step.actions] == ["seen x", "seen y"]


def test_calls_with_effects_run_in_order() -> None:
    running: list[str] = []

    async def write(text: str) -> None:
        running.append(f"begin {text}")
        await asyncio.sleep(0)
        running.append(f"end {text}")

    tool = lmpipe.Tool.of(write, effects=True)
    two = as_calls("Write.", ("write", {"text": "x"}), ("write", {"text": "y"}))
    lm = scripted("native", [two, step_in("native", *FINISH)])
    run(lmpipe.ReAct(Add, [tool]), lm, a=1, b=2)
    assert running == ["begin x", "end x", "begin y", "end y"]


@both
def test_an_error_of_a_tool_is_a_result(protocol: str) -> None:
    def fail(a: int, b: int) -> int:
        raise ValueError("tool error")

    lm = agent_lm(protocol, ("Try.", ("fail", {"a": 1, "b": 2})), FINISH)
    result = run(lmpipe.ReAct(Add, [fail]), lm, a=1, b=2)
    action = lmpipe.trajectory_of(result).actions[0]
    assert action.error
    assert "tool error" in results_in(lm.requests[1])[0]


@both
def test_wrong_arguments_are_a_result(protocol: str) -> None:
    lm = agent_lm(protocol, ("Add.", ("add", {"a": "one"})), FINISH)
    result = run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    shown = lmpipe.trajectory_of(result).actions[0].text
    assert "a: Input should be a valid integer" in shown
    assert "b: " in shown


@both
def test_a_wrong_answer_is_a_result_that_the_lm_can_mend(protocol: str) -> None:
    wrong = ("Many.", ("finish", {"total": "many"}))
    lm = agent_lm(protocol, wrong, FINISH)
    result = run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    assert result.total == 3
    assert "total" in results_in(lm.requests[1])[0]
    assert lmpipe.trajectory_of(result).actions[0].error


class Even(Add):
    """Give an even total."""

    @pydantic.field_validator("total")
    @classmethod
    def _check(cls, total: int) -> int:
        if total % 2:
            raise ValueError("it must be even")
        return total


@both
def test_validators_of_the_signature_hold_for_the_answer(protocol: str) -> None:
    lm = agent_lm(protocol, FINISH, ("Four.", ("finish", {"total": 4})))
    result = run(lmpipe.ReAct(Even, [add]), lm, a=1, b=2)
    assert result.total == 4
    assert "it must be even" in results_in(lm.requests[1])[0]


@both
def test_validators_of_the_signature_hold_for_an_extracted_answer(protocol: str) -> None:
    lm = agent_lm(protocol, CALL, EXTRACTED, EXTRACTED.replace("\n3", "\n4"))
    assert run(lmpipe.ReAct(Even, [add], max_steps=1), lm, a=1, b=2).total == 4


@both
def test_an_unknown_tool_is_corrected(protocol: str) -> None:
    lm = agent_lm(protocol, ("?", ("subtract", {})), FINISH)
    assert run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2).total == 3
    assert "next_tool" in lm.requests[1].messages[-1].text


def test_an_unknown_tool_beside_others_is_a_result() -> None:
    two = as_calls("", ("add", {"a": 1, "b": 2}), ("subtract", {}))
    lm = scripted("native", [two, step_in("native", *FINISH)])
    run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    assert "there is no tool 'subtract'; the tools are: add" in results_in(lm.requests[1])[1]


def test_a_native_reply_without_a_call_is_asked_for_one() -> None:
    lm = scripted("native", ["It is 3.", step_in("native", *FINISH)])
    assert run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2).total == 3
    assert "it calls no tool" in lm.requests[1].messages[-1].text
    assert [request.tool_choice for request in lm.requests] == ["auto", "required"]


def test_an_lm_that_cannot_be_forced_is_only_asked() -> None:
    takes = {"tools": True, "tool_choice": False}
    lm = lmpipe.ScriptedLM(["It is 3.", step_in("native", *FINISH)], takes=takes)
    run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    assert lm.requests[1].tool_choice == "auto"


def test_a_native_call_that_is_written_as_text_is_read() -> None:
    written = '<tool_call>\n{"name": "finish", "arguments": {"total": 3}}\n</tool_call>'
    lm = scripted("native", [written])
    assert run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2).total == 3


def test_native_arguments_that_are_no_json_are_corrected() -> None:
    broken = Reply("", tool_calls=(ToolCall("1", "add", '{"a": 1,'),))
    lm = scripted("native", [broken, step_in("native", *FINISH)])
    assert run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2).total == 3


@both
def test_an_lm_that_repeats_a_call_is_told_so(protocol: str) -> None:
    lm = agent_lm(protocol, CALL, CALL, FINISH)
    run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    first, second = results_in(lm.requests[-1])
    assert first == "3"
    assert second.startswith("3\n(This call was made before")


@both
def test_the_answer_is_extracted_when_the_steps_end(protocol: str) -> None:
    lm = agent_lm(protocol, CALL, CALL, EXTRACTED)
    result = run(lmpipe.ReAct(Add, [add], max_steps=2), lm, a=1, b=2)
    assert type(result) is Add
    assert result.total == 3
    assert not lmpipe.trajectory_of(result).finished
    assert "Call: add" in lm.requests[-1].messages[-1].text


class AddSmall(Add):
    """Add up the numbers, below ten."""

    @lmpipe.output_check("Stay below ten.")
    def small(self) -> bool:
        return self.total < 10


@both
def test_an_answer_that_fails_a_check_of_the_signature_is_refused(protocol: str) -> None:
    lm = agent_lm(protocol, ("", ("finish", {"total": 12})), FINISH)
    result = run(lmpipe.ReAct(AddSmall, [add]), lm, a=1, b=2)
    assert result.total == 3
    assert results_in(lm.requests[1]) == ["Stay below ten."]


@both
def test_finish_without_an_answer_has_it_extracted(protocol: str) -> None:
    lm = agent_lm(protocol, CALL, ("Done.", ("finish", {})), EXTRACTED)
    assert run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2).total == 3


@both
def test_the_answer_is_extracted_when_no_step_can_be_read(protocol: str) -> None:
    lm = agent_lm(protocol, CALL, "?", "?", EXTRACTED)
    result = run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    assert len(lmpipe.trajectory_of(result)) == 1


@both
def test_a_refusal_is_raised(protocol: str) -> None:
    lm = scripted(protocol, [Reply("", refusal="I will not.")])
    with pytest.raises(RefusalError, match="I will not"):
        run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)


def test_finish_beside_other_calls_ends_the_task_after_them() -> None:
    ran: list[int] = []

    def note(number: int) -> None:
        ran.append(number)

    lm = scripted("native", [as_calls("", ("finish", {"total": 3}), ("note", {"number": 7}))])
    assert run(lmpipe.ReAct(Add, [note]), lm, a=1, b=2).total == 3
    assert ran == [7]


class Point(pydantic.BaseModel):
    x: int
    y: int


@both
def test_tools_take_pydantic_models(protocol: str) -> None:
    def measure(point: Point) -> int:
        assert isinstance(point, Point)
        return point.x + point.y

    lm = agent_lm(protocol, ("?", ("measure", {"point": {"x": 1, "y": 2}})), FINISH)
    result = run(lmpipe.ReAct(Add, [measure]), lm, a=1, b=2)
    assert lmpipe.trajectory_of(result).actions[0].observation == "3"


PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000")


@both
def test_an_image_that_a_tool_returns_is_shown(protocol: str) -> None:
    image = lmpipe.Image(data=PIXEL, media_type="image/png")

    def draw() -> list[object]:
        return ["A drawing:", image]

    lm = agent_lm(protocol, ("Draw.", ("draw", {})), FINISH)
    result = run(lmpipe.ReAct(Add, [draw]), lm, a=1, b=2)
    (medium,) = [part for turn in lm.requests[1].messages for part in media_in(turn.content)]
    assert medium.data == PIXEL
    assert lmpipe.trajectory_of(result).actions[0].observation == ("A drawing:", image)


def test_sync_tools_do_not_block_each_other() -> None:
    met = threading.Barrier(2)

    def look(at: str) -> str:
        met.wait(timeout=30)
        return at

    two = as_calls("", ("look", {"at": "x"}), ("look", {"at": "y"}))
    lm = scripted("native", [two, step_in("native", *FINISH)])
    assert run(lmpipe.ReAct(Add, [look]), lm, a=1, b=2).total == 3


async def test_acall() -> None:
    lm = agent_lm("text", CALL, FINISH)
    with using(lm=lm, runtime=Runtime()):
        assert (await lmpipe.ReAct(Add, [add]).acall(a=1, b=2)).total == 3


@both
def test_batch(protocol: str) -> None:
    def answer(request: Request) -> str | Reply:
        return step_in(protocol, *(FINISH if results_in(request) else CALL))

    with using(lm=scripted(protocol, answer), runtime=Runtime()):
        results = lmpipe.ReAct(Add, [add]).batch([{"a": 1, "b": 2}, {"a": 2, "b": 1}])
    assert [(result.a, result.total) for result in results] == [(1, 3), (2, 3)]


@both
def test_a_stream_tells_of_thoughts_and_calls(protocol: str) -> None:
    lm = agent_lm(protocol, CALL, FINISH)
    with using(lm=lm, runtime=Runtime()):
        stream = lmpipe.ReAct(Add, [add]).stream(a=1, b=2)
        events = list(stream.events())
    assert stream.result.total == 3
    calls = [event for event in events if isinstance(event, ToolCalled)]
    assert [(call.predictor, call.name) for call in calls] == [("act", "add"), ("act", "finish")]
    assert calls[0].arguments == '{"a":1,"b":2}'
    pieces = [event for event in events if isinstance(event, Partial)]
    assert ("next_thought", "Add them.") in [(piece.field, piece.text) for piece in pieces]


class Talk(lmpipe.Signature):
    """Go on with the conversation."""

    history: lmpipe.History = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


@both
def test_earlier_turns_of_a_conversation_are_shown(protocol: str) -> None:
    lm = agent_lm(protocol, ("", ("finish", {"answer": "Anna"})), ("", ("finish", {"answer": "9"})))
    agent = lmpipe.ReAct(Talk, [add])
    first = run(agent, lm, question="Who?", history=lmpipe.History())
    history = lmpipe.History().add(first, {"role": "user", "content": "By the way, hello."})
    run(agent, lm, question="How old?", history=history)
    shown = "\n".join(turn.shown for turn in lm.requests[1].messages[1:])
    assert [shown.index(text) for text in ("Who?", "Anna", "By the way", "How old?")] == sorted(
        shown.index(text) for text in ("Who?", "Anna", "By the way", "How old?")
    )


def test_a_turn_with_an_unknown_field_is_refused() -> None:
    history = lmpipe.History.of({"question": "?", "answer": "!", "mood": "good"})
    with pytest.raises(CallError, match="unknown 'mood'"):
        run(lmpipe.ReAct(Talk, [add]), agent_lm("text"), question="?", history=history)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(CallError, match="missing 'b'"):
        run(lmpipe.ReAct(Add, [add]), agent_lm("text"), a=1)


def test_tools_without_types_are_taken() -> None:
    def join(a, b):  # type: ignore[no-untyped-def]
        """Join."""
        return a + b

    lm = agent_lm("text", ("", ("join", {"a": 1, "b": 2})), FINISH)
    result = run(lmpipe.ReAct("a, b -> total: int", [join]), lm, a="1", b="2")
    assert lmpipe.trajectory_of(result).actions[0].observation == "3"


def test_an_agent_without_tools_answers() -> None:
    assert run(lmpipe.ReAct(Add, []), agent_lm("native", FINISH), a=1, b=2).total == 3


def test_the_maximum_of_calls_is_known() -> None:
    agent = lmpipe.ReAct(Add, [add], max_steps=4, retries=1)
    assert agent.calls_per_run() == 4 * 2 + 2
    assert lmpipe.ReAct(Add, [add], max_steps=3, retries=0).calls_per_run() == 3 + 1


@both
def test_the_worst_run_makes_the_maximum_of_calls(protocol: str) -> None:
    def worst(request: Request) -> str | Reply:
        system = request.messages[0].text
        if "Work in steps" not in system:
            return "?" if len(request.messages) == 2 else EXTRACTED
        last = request.messages[-1].text
        return step_in(protocol, *CALL) if "cannot be used" in last else "?"

    lm = scripted(protocol, worst)
    agent = lmpipe.ReAct(Add, [add], max_steps=3)
    with scope(max_calls=agent.calls_per_run()):
        assert run(agent, lm, a=1, b=2).total == 3
    assert len(lm.requests) == agent.calls_per_run() == 8


def test_the_predictors_have_names() -> None:
    agent = lmpipe.ReAct(Add, [add])
    assert list(agent.predictors()) == ["act", "extract"]
    assert agent.state()["act"].instruction == "Add up the numbers."


def test_an_instruction_replaces_the_docstring() -> None:
    state = lmpipe.ReAct(Add, [add], instruction="Sum.").state()
    assert {item.instruction for item in state.predictors.values()} == {"Sum."}


@both
def test_a_learned_instruction_is_shown_with_the_tools(protocol: str) -> None:
    agent = lmpipe.ReAct(Add, [add])
    learned = agent.bind(agent.state().map(instruction="Be careful."))
    lm = agent_lm(protocol, FINISH)
    run(learned, lm, a=1, b=2)
    system = lm.requests[0].messages[0].text
    assert system.startswith("Be careful.")
    assert "Work in steps" in system


def test_it_is_pickled() -> None:
    agent = pickle.loads(pickle.dumps(lmpipe.ReAct(Add, [add], max_steps=2)))
    assert run(agent, agent_lm("text", CALL, FINISH), a=1, b=2).total == 3


def test_an_agent_made_of_a_string_is_pickled() -> None:
    agent = lmpipe.ReAct("a: int, b: int -> total: int", [add])
    again = pickle.loads(pickle.dumps(agent))
    assert again.state() == agent.state()
    assert run(again, agent_lm("text", FINISH), a=1, b=2).total == 3


def test_it_is_a_part_of_a_program() -> None:
    class Program(lmpipe.Module):
        def __init__(self) -> None:
            self.agents = [lmpipe.ReAct(Add, [add], max_steps=2)]

        def forward(self, a: int, b: int) -> int:
            return self.agents[0](a=a, b=b).total

    program = Program()
    assert list(program.predictors()) == ["agents[0].act", "agents[0].extract"]
    assert program.calls_per_run() == 2 * 2 + 2
    assert run(program, agent_lm("native", CALL, FINISH), a=1, b=2) == 3


def test_usage_of_a_result_counts_all_steps() -> None:
    result = run(lmpipe.ReAct(Add, [add]), agent_lm("text", CALL, FINISH), a=1, b=2)
    assert lmpipe.usage_of(result).total.calls == 2


def test_results_compare_and_print_without_the_trajectory() -> None:
    result = run(lmpipe.ReAct(Add, [add]), agent_lm("text", FINISH), a=1, b=2)
    assert result == Add(a=1, b=2, total=3)  # type: ignore[call-arg]
    assert repr(result) == "Add(total=3)"


def test_the_trajectory_of_another_result_is_not_known() -> None:
    with pytest.raises(CallError, match="its trajectory is not known"):
        lmpipe.trajectory_of(Add(a=1, b=2, total=3))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ([add, add], "two tools have the name 'add'"),
        ([lmpipe.Tool.of(add, name="finish")], "'finish' is the tool that gives the answer"),
        ([lmpipe.Tool.of(add, name="add numbers")], "'add numbers'"),
        ([lmpipe.Tool(name="add")], "the tool add has no function"),
        ("add", "give a list of functions and tools"),
    ],
)
def test_tools_that_cannot_be_told_apart_are_refused(tools: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        lmpipe.ReAct(Add, tools)


@pytest.mark.parametrize(
    "options", [{"max_steps": 0}, {"max_steps": 1.5}, {"protocol": "json"}, {"error_limit": 0}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        lmpipe.ReAct(Add, [add], **options)


@pytest.mark.parametrize(
    ("option", "meant"), [("max_iters", "max_steps"), ("max_step", "max_steps")]
)
def test_misspelled_options_are_refused(option: str, meant: str) -> None:
    with pytest.raises(SignatureError, match=rf"ReAct has no option '{option}'.*{meant}"):
        lmpipe.ReAct(Add, [add], **{option: 5})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["trajectory", "next_tool", "more_calls"])
def test_names_of_agents_are_refused_as_fields(name: str) -> None:
    with pytest.raises(SignatureError, match=f"a field '{name}', a name that ReAct uses"):
        lmpipe.ReAct(f"question, {name} -> answer", [add])


def test_an_error_of_the_server_is_raised() -> None:
    with pytest.raises(LMRequestError, match="the script of"):
        run(lmpipe.ReAct(Add, [add]), agent_lm("text"), a=1, b=2)


class Choose(lmpipe.Signature):
    """Choose."""

    question: str = lmpipe.Input()
    choice: Literal["left", "right"] = lmpipe.Output()
    reasons: list[str] = lmpipe.Output(default=[])


@both
def test_outputs_of_any_type_are_given_by_finish(protocol: str) -> None:
    lm = agent_lm(protocol, ("", ("finish", {"choice": "left", "reasons": ["a", "b"]})))
    result = run(lmpipe.ReAct(Choose, []), lm, question="?")
    assert (result.choice, result.reasons) == ("left", ["a", "b"])


def test_the_learned_state_does_not_depend_on_the_protocol() -> None:
    states = [lmpipe.ReAct(Add, [add], protocol=name).state() for name in ("text", "native")]
    assert states[0] == states[1]
    step = spec_of(lmpipe.ReAct(Add, [add]).act.signature)
    assert step.label == "next_tool"  # demonstrations are balanced by it


THINKS = Reply(
    "", reasoning="I must add.", signature="s1", tool_calls=(ToolCall("1", "add", '{"a":1,"b":2}'),)
)


def test_thoughts_before_native_calls_go_back_to_the_provider() -> None:
    lm = scripted("native", [THINKS, step_in("native", *FINISH)])
    result = run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    (turn,) = [turn for turn in lm.requests[1].messages if turn.role == "assistant"]
    assert turn.content[0] == ReasoningPart("I must add.", "s1")
    step = lmpipe.trajectory_of(result)[0]
    assert (step.thought, step.reasoning) == ("", "I must add.")


def test_thoughts_before_calls_as_text_are_not_repeated() -> None:
    thinking = f"<think>I must add.</think>\n{step_in('text', *CALL)}"
    lm = scripted("text", [thinking, step_in("text", *FINISH)])
    run(lmpipe.ReAct(Add, [add]), lm, a=1, b=2)
    assert "I must add." not in "".join(turn.shown for turn in lm.requests[1].messages)
