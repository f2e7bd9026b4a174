"""What an LM is asked after a reply that cannot be read."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from helpers.layouts import TEXT_LAYOUTS

from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.modules import ChainOfThought, Predict
from lmpipe.settings import using
from lmpipe.signatures.signature import Input, Output, Signature


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
