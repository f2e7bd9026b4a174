"""`ChainOfThought`: reasoning comes first and is part of the result."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
from helpers.layouts import ONE_STEP_LAYOUTS, TEXT_LAYOUTS, reply_of

from lmpipe.errors import ConfigError
from lmpipe.lm.request import Reply
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.modules import ChainOfThought, Predict
from lmpipe.settings import using
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.program_state import Demo, Retrieval
from lmpipe.state.trace import Trace


class Add(Signature):
    """Add up."""

    numbers: list[int] = Input()
    total: int = Output()


REPLIES = {
    "chat": "## reasoning\n1 and 2\nmake 3\n\n## total\n3",
    "plain": "Reasoning: 1 and 2\nmake 3\nTotal: 3",
    "json": '{"reasoning": "1 and 2\\nmake 3", "total": 3}',
    "xml": "<reasoning>\n1 and 2\nmake 3\n</reasoning>\n<total>3</total>",
    "tools": '{"reasoning": "1 and 2\\nmake 3", "total": 3}',
}


@pytest.mark.parametrize("layout", ONE_STEP_LAYOUTS)
def test_the_result_has_the_reasoning(layout: str) -> None:
    with using(lm=ScriptedLM([reply_of(layout, REPLIES[layout])]), runtime=Runtime()):
        result = ChainOfThought(Add, layout=layout)(numbers=[1, 2])
    assert isinstance(result, Add)
    assert (result.reasoning, result.total) == ("1 and 2\nmake 3", 3)


def test_a_signature_string_is_accepted() -> None:
    with using(lm=ScriptedLM(["## reasoning\nr\n\n## b\nx"]), runtime=Runtime()):
        result = ChainOfThought("a -> b")(a="?")
    assert (result.reasoning, result.b) == ("r", "x")


async def test_acall() -> None:
    with using(lm=ScriptedLM([REPLIES["chat"]]), runtime=Runtime()):
        assert (await ChainOfThought(Add).acall(numbers=[1])).reasoning


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_reasoning_is_asked_for_before_the_answer(layout: str) -> None:
    system = ChainOfThought(Add, layout=layout).messages(numbers=[1])[0].text.lower()
    assert system.index("reasoning") < system.index("total", system.index("add up") + 6)


def test_the_instruction_is_that_of_the_signature() -> None:
    assert ChainOfThought(Add).spec.instruction == "Add up."
    assert ChainOfThought("a -> b").spec.instruction == "Given `a`, give `b`."


def test_its_states_do_not_fit_predict() -> None:
    assert ChainOfThought(Add).spec.schema_hash != Predict(Add).spec.schema_hash
    assert ChainOfThought(Add).spec.schema_hash == ChainOfThought(Add).spec.schema_hash


THINKING: dict[str, Any] = {"reasoning_effort": "high"}


def bare(layout: str) -> str:
    """A reply with the total alone."""
    return Predict(Add, layout=layout).reply({"total": 3})


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_the_thoughts_of_an_lm_that_thinks_are_the_reasoning(layout: str) -> None:
    lm = ScriptedLM([Reply(bare(layout), reasoning="1 and 2 make 3")], **THINKING)
    with using(lm=lm, runtime=Runtime()):
        result = ChainOfThought(Add, layout=layout)(numbers=[1, 2])
    assert (result.reasoning, result.total) == ("1 and 2 make 3", 3)


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_such_an_lm_is_not_asked_to_write_its_reasoning(layout: str) -> None:
    with using(lm=ScriptedLM([], **THINKING)):
        shown = ChainOfThought(Add, layout=layout).messages(numbers=[1])
    assert shown == Predict(Add, layout=layout).messages(numbers=[1])


def test_constrained_outputs_leave_it_out_too() -> None:
    lm = ScriptedLM([Reply('{"total": 3}', reasoning="r")], **THINKING)
    with using(lm=lm, runtime=Runtime()):
        ChainOfThought(Add, layout="json", constrained=True)(numbers=[1, 2])
    constraint = lm.requests[0].constraint
    assert constraint is not None
    assert "reasoning" not in constraint.value


def test_hidden_thoughts_are_an_empty_reasoning() -> None:
    with using(lm=ScriptedLM(["[[total]]\n3"], **THINKING), runtime=Runtime()):
        assert ChainOfThought(Add)(numbers=[1, 2]).reasoning == ""


@pytest.mark.parametrize(("native", "settings"), [(True, {}), (False, THINKING)])
def test_native_reasoning_is_turned_on_and_off(native: bool, settings: dict[str, Any]) -> None:
    with using(lm=ScriptedLM([], **settings)):
        shown = ChainOfThought(Add, native_reasoning=native).messages(numbers=[1])
    assert ("reasoning" not in shown[0].text) is native


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_thoughts_fill_in_a_reasoning_that_was_asked_for_and_not_written(layout: str) -> None:
    lm = ScriptedLM([Reply(bare(layout), reasoning="hm")])
    with using(lm=lm, runtime=Runtime()):
        result = ChainOfThought(Add, layout=layout)(numbers=[1, 2])
    assert (result.reasoning, result.total, len(lm.requests)) == ("hm", 3, 1)


def test_a_reasoning_that_was_written_is_kept() -> None:
    lm = ScriptedLM([Reply(REPLIES["chat"], reasoning="hm")])
    with using(lm=lm, runtime=Runtime()):
        assert ChainOfThought(Add)(numbers=[1, 2]).reasoning == "1 and 2\nmake 3"


def test_a_state_shows_its_reasoning_only_where_it_is_asked_for() -> None:
    program = ChainOfThought(Add)
    demo = Demo(inputs={"numbers": [2, 2]}, outputs={"reasoning": "two twos", "total": 4})
    bound = program.bind(program.state().map(demos=(demo,)))
    seen = []
    for settings in ({}, THINKING):
        with using(lm=ScriptedLM([], **settings)):
            seen.append(bound.messages(numbers=[1])[2].text)
    assert ["two twos" in text for text in seen] == [True, False]


def test_so_do_demonstrations_that_are_chosen() -> None:
    program = ChainOfThought(Add, native_reasoning=True)
    demo = Demo(inputs={"numbers": [2, 2]}, outputs={"reasoning": "two twos", "total": 4})
    bound = program.bind(program.state().map(retrieval=Retrieval(pool=(demo,), k=1)))
    assert bound.messages(numbers=[1])[2].text == "[[total]]\n4"


def test_thoughts_are_streamed_when_they_are_complete() -> None:
    lm = ScriptedLM([Reply("[[total]]\n3", reasoning="hm")], **THINKING)
    with using(lm=lm, runtime=Runtime()):
        pieces = list(ChainOfThought(Add).stream(numbers=[1, 2]))
    assert {piece.field: piece.value for piece in pieces if piece.done} == {
        "reasoning": "hm",
        "total": 3,
    }


def test_a_trace_has_the_thoughts() -> None:
    lm, trace = ScriptedLM([Reply("[[total]]\n3", reasoning="hm")], **THINKING), Trace()
    with using(lm=lm, runtime=Runtime()), scope(trace=trace):
        ChainOfThought(Add)(numbers=[1, 2])
    assert trace.steps[0].outputs == {"reasoning": "hm", "total": 3}


def test_it_survives_pickling() -> None:
    program = pickle.loads(pickle.dumps(ChainOfThought(Add, native_reasoning=True)))
    assert "reasoning" not in program.messages(numbers=[1])[0].text


@pytest.mark.parametrize("signature", ["a -> reasoning", "a -> reasoning: list[str], b"])
def test_a_reasoning_that_thoughts_cannot_be_is_refused(signature: str) -> None:
    with pytest.raises(ConfigError, match="native_reasoning=True needs a `reasoning: str`"):
        ChainOfThought(signature, native_reasoning=True)


@pytest.mark.parametrize("streamed", [False, True])
def test_thoughts_between_tags_are_the_reasoning(streamed: bool) -> None:
    lm = ScriptedLM(["<think>\n1 and 2 make 3\n</think>\n\n[[total]]\n3"], **THINKING)
    with using(lm=lm, runtime=Runtime()):
        program = ChainOfThought(Add)
        result = program.stream(numbers=[1, 2]).result if streamed else program(numbers=[1, 2])
    assert (result.reasoning, result.total) == ("1 and 2 make 3", 3)


def test_it_names_all_arguments_of_predict() -> None:
    ours, theirs = (inspect.signature(kind).parameters for kind in (ChainOfThought, Predict))
    assert [name for name in ours if name != "native_reasoning"] == list(theirs)
