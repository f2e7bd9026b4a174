"""`ChainOfThought`: reasoning comes first and is part of the result."""

from __future__ import annotations

import pytest
from helpers.layouts import ONE_STEP_LAYOUTS, TEXT_LAYOUTS, reply_of

from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.modules import ChainOfThought, Predict
from lmpipe.settings import using
from lmpipe.signatures.signature import Input, Output, Signature


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
    system = ChainOfThought(Add, layout=layout).messages(numbers=[1])[0].content.lower()
    assert system.index("reasoning") < system.index("total", system.index("add up") + 6)


def test_the_instruction_is_that_of_the_signature() -> None:
    assert ChainOfThought(Add).spec.instruction == "Add up."
    assert ChainOfThought("a -> b").spec.instruction == "Given `a`, give `b`."


def test_its_states_do_not_fit_predict() -> None:
    assert ChainOfThought(Add).spec.schema_hash != Predict(Add).spec.schema_hash
    assert ChainOfThought(Add).spec.schema_hash == ChainOfThought(Add).spec.schema_hash
