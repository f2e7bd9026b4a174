"""What an LM is asked after a reply that cannot be read."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from helpers.layouts import TEXT_LAYOUTS

from lmpipe.errors import CutError
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.modules import ChainOfThought, Predict
from lmpipe.settings import using
from lmpipe.signatures.signature import Input, Output, Signature
from lmpipe.state.trace import Trace


class Route(Signature):
    """Route the ticket."""

    ticket: str = Input()
    team: Literal["billing", "shipping"] = Output()
    first_reply: str = Output()


RIGHT = {
    "chat": "[[team]]\nbilling\n\n[[first_reply]]\nHello",
    "plain": "Team: billing\nFirst reply: Hello",
    "json": '{"team": "billing", "first_reply": "Hello"}',
    "xml": "<team>\nbilling\n</team>\n\n<first_reply>\nHello\n</first_reply>",
}


def asked(program: Predict[..., Any], *script: str | Reply, **inputs: Any) -> tuple[Request, ...]:
    """Run a program, and return its requests."""
    lm = ScriptedLM([*script])
    with using(lm=lm, runtime=Runtime()):
        program(**inputs)
    return tuple(lm.requests)


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_the_second_reply_is_held_to_the_form(layout: str) -> None:
    program = Predict(Route, layout=layout)
    first, second = asked(program, "I do not know.", RIGHT[layout], ticket="Where is it?")
    assert first.constraint is None
    constrained = Predict(Route, layout=layout, constrained=True)
    (held,) = asked(constrained, RIGHT[layout], ticket="Where is it?")
    assert second.constraint == held.constraint is not None


def test_a_reply_that_was_cut_is_held_to_the_form_when_it_is_asked_for_again() -> None:
    cut = Reply("I would say that", finish="length")
    first, second = asked(Predict(Route, max_tokens=16), cut, RIGHT["chat"], ticket="Where?")
    assert first.constraint is None
    assert second.constraint is not None


def test_thoughts_are_never_constrained() -> None:
    program = ChainOfThought("question -> answer: int")
    thoughts = Reply("none", reasoning="Two and two are four.")
    lm = ScriptedLM([thoughts, Reply("[[answer]]\n4", reasoning="Four.")], reasoning="low")
    with using(lm=lm, runtime=Runtime()):
        program(question="What is 2 + 2?")
    assert [request.constraint for request in lm.requests] == [None, None]


def test_the_free_text_of_two_steps_is_never_constrained() -> None:
    program = Predict(Route, layout="two-step")
    requests = asked(program, "", "Billing should answer.", RIGHT["json"], ticket="Where is it?")
    assert [request.constraint for request in requests] == [None, None, None]


@pytest.mark.parametrize("layout", ["chat", "plain", "xml"])
def test_the_form_is_shown_again(layout: str) -> None:
    program = Predict(Route, layout=layout)
    _, second = asked(program, "I do not know.", RIGHT[layout], ticket="Where is it?")
    blank = RIGHT[layout].replace("billing", "(the team)").replace("Hello", "(the first reply)")
    assert second.messages[-1].text.endswith(f"\nAnswer again in this form:\n\n{blank}")


def test_the_keys_of_a_json_object_are_named_again() -> None:
    program = Predict(Route, layout="json")
    _, second = asked(program, "I do not know.", RIGHT["json"], ticket="Where is it?")
    assert second.messages[-1].text.endswith('the keys "team", "first_reply".')


@pytest.mark.parametrize("layout", ["chat", "plain", "xml"])
def test_a_reply_that_repeats_the_form_is_no_answer(layout: str) -> None:
    program = Predict(Route, layout=layout)
    repeated = RIGHT[layout].replace("Hello", "(the first reply)")
    _, second = asked(program, repeated, RIGHT[layout], ticket="Where is it?")
    assert "write the first_reply itself" in second.messages[-1].text


def test_words_in_parentheses_are_an_answer() -> None:
    reply = RIGHT["chat"].replace("Hello", "(the first reply is missing)")
    assert len(asked(Predict(Route), reply, ticket="Where is it?")) == 1


class Large(Signature):
    """Answer with a large number."""

    question: str = Input()
    answer: int = Output(ge=10)


# An LM that reasons well and forgets the answer.
STEPS = "Half of 8 is 4, and \\boxed{4} more make 8."
REASONED = {
    "chat": f"[[reasoning]]\n{STEPS}",
    "plain": f"Reasoning: {STEPS}",
    "json": json.dumps({"reasoning": STEPS}),
    "xml": f"<reasoning>\n{STEPS}\n</reasoning>",
}
ANSWERED = {
    "chat": "[[answer]]\n8",
    "plain": "8",
    "json": '{"answer": 8}',
    "xml": "<answer>\n8\n</answer>",
}
COUNT = "question -> answer: int"


def replied_to(program: Predict[..., Any], *script: str | Reply, **inputs: Any) -> Any:
    """Run a program; return its result, its requests and the step of its trace."""
    lm, trace = ScriptedLM([*script]), Trace()
    with using(lm=lm, runtime=Runtime()), scope(trace=trace):
        result = program(**inputs)
    return result, lm.requests, trace.steps[-1]


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_only_what_a_reply_lacks_is_asked_for(layout: str) -> None:
    program = ChainOfThought(COUNT, layout=layout)
    result, requests, step = replied_to(program, REASONED[layout], ANSWERED[layout], question="?")
    assert (result.reasoning, result.answer) == (STEPS, 8)
    assert step.outputs == {"reasoning": STEPS, "answer": 8}
    assert "reasoning" not in requests[1].messages[-1].text.lower()


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_the_reply_to_it_is_held_to_what_is_missing(layout: str) -> None:
    program = ChainOfThought(COUNT, layout=layout)
    _, requests, _ = replied_to(program, REASONED[layout], ANSWERED[layout], question="?")
    alone = Predict(COUNT, layout=layout, constrained=True)
    (held,) = asked(alone, ANSWERED[layout], question="?")
    assert requests[1].constraint == held.constraint


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_an_lm_may_write_everything_again(layout: str) -> None:
    program = ChainOfThought(COUNT, layout=layout)
    again = {
        "chat": "[[reasoning]]\nFour and four.\n\n[[answer]]\n8",
        "plain": "Reasoning: Four and four.\nAnswer: 8",
        "json": '{"reasoning": "Four and four.", "answer": 8}',
        "xml": "<reasoning>\nFour and four.\n</reasoning>\n\n<answer>\n8\n</answer>",
    }
    result, _, _ = replied_to(program, REASONED[layout], again[layout], question="?")
    assert (result.reasoning, result.answer) == ("Four and four.", 8)


def test_a_value_that_cannot_be_read_is_asked_for_alone() -> None:
    wrong = RIGHT["chat"].replace("billing", "the billing or the shipping team")
    result, requests, _ = replied_to(Predict(Route), wrong, "[[team]]\nbilling", ticket="Where?")
    assert (result.team, result.first_reply) == ("billing", "Hello")
    assert (
        requests[1]
        .messages[-1]
        .text.endswith("Write only what is missing, in this form:\n\n[[team]]\n(the team)")
    )


def test_a_text_at_the_end_of_a_reply_is_not_kept() -> None:
    # What follows may belong to the output that is missing.
    reply = "[[first_reply]]\nHello\nThe team would be billing, I think"
    _, requests, _ = replied_to(Predict(Route), reply, RIGHT["chat"], ticket="Where?")
    assert "Answer again in this form" in requests[1].messages[-1].text


def test_all_is_asked_for_again_after_an_answer_that_fails_a_bound() -> None:
    program = ChainOfThought(Large)
    right = "[[reasoning]]\nTwelve.\n\n[[answer]]\n12"
    wrong = right.replace("12", "2")
    _, requests, _ = replied_to(program, wrong, right, question="?")
    assert "Answer again in this form:\n\n[[reasoning]]" in requests[1].messages[-1].text


def test_what_was_kept_is_kept_for_a_third_question() -> None:
    program = ChainOfThought(COUNT, retries=2)
    script = (REASONED["chat"], "[[answer]]\nquite a lot", "[[answer]]\n8")
    result, requests, _ = replied_to(program, *script, question="?")
    assert (result.reasoning, result.answer) == (STEPS, 8)
    assert "Write only what is missing" in requests[2].messages[-1].text


def test_a_reply_that_repeats_itself_until_it_is_cut_gets_no_more_room() -> None:
    looping = Reply(REASONED["chat"] + "\nThe answer is 8. So the sum is 8." * 30, finish="length")
    program = ChainOfThought(COUNT, max_tokens=64)
    result, requests, _ = replied_to(program, looping, ANSWERED["chat"], question="?")
    assert result.answer == 8
    assert [request.lm.max_tokens for request in requests] == [64, 64]
    said, told = requests[1].messages[-2:]
    assert said.text.count("The answer is 8.") == 1
    assert told.text.startswith(
        "That reply cannot be used: the reply repeated itself until it was cut\nWrite only"
    )


def test_the_error_says_that_an_lm_repeats_itself() -> None:
    looping = Reply("again and " * 50, finish="length")
    with pytest.raises(CutError, match="repeated itself until it was cut at max_tokens=64"):
        asked(Predict("q -> a", max_tokens=64), looping, looping, q="?")
