"""Predictors with the layout `two-step`: a free text, then its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import CutError, OutputError, RefusalError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Reply
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.stream_events import Retrying
from lmpipe.settings import using
from lmpipe.state.program_state import Demo
from lmpipe.state.trace import Trace


class Count(lmpipe.Signature):
    """Count the apples."""

    question: str = lmpipe.Input()
    total: int = lmpipe.Output(desc="all apples")


FREE = "Two and three are five, so there are 5 apples."


def count(**options: Any) -> lmpipe.Predict[..., Any]:
    return lmpipe.Predict(Count, layout="two-step", **options)


def says(*script: str | Reply, **settings: Any) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(list(script), **settings)


def test_the_outputs_are_read_from_a_free_text() -> None:
    with using(lm=says(FREE, '{"total": 5}'), runtime=Runtime()):
        assert count()(question="How many?").total == 5


def test_the_first_question_shows_no_form() -> None:
    lm = says(FREE, '{"total": 5}')
    with using(lm=lm, runtime=Runtime()):
        count(constrained=True)(question="How many?")
    first, second = lm.requests
    assert [turn.content for turn in first.messages] == [
        "Count the apples.\n\nAnswer in your own words, and make clear what these are:\n"
        "- total: all apples (a whole number)",
        "Question: How many?",
    ]
    assert first.constraint is None
    assert second.constraint is not None
    assert second.messages[-1].content == FREE
    assert "> Count the apples." in second.messages[0].text


def test_a_complete_second_reply_at_the_limit_of_tokens_is_an_answer() -> None:
    lm = says(FREE, Reply('{"total": 5}  ', finish="length"))
    with using(lm=lm, runtime=Runtime()):
        assert count(retries=0)(question="How many?").total == 5


def test_another_lm_may_read_the_outputs() -> None:
    writer, reader = says(FREE), says('{"total": 5}', name="reader")
    with using(lm=writer, runtime=Runtime()):
        assert count(extractor=reader)(question="How many?").total == 5
    assert (len(writer.requests), len(reader.requests)) == (1, 1)


async def test_acall() -> None:
    with using(lm=says(FREE, '{"total": 5}'), runtime=Runtime()):
        assert (await count().acall(question="How many?")).total == 5


def test_samples_have_texts_of_their_own() -> None:
    lm = lmpipe.ScriptedLM(
        lambda request: (
            f"{request.sample} apples."
            if request.constraint is None
            else f'{{"total": {request.messages[-1].text[0]}}}'
        )
    )
    with using(lm=lm, runtime=Runtime()):
        drawn = count(constrained=True).samples(3, question="How many?")
    assert [result.total for result in drawn] == [0, 1, 2]


def test_only_the_second_step_is_streamed() -> None:
    text = 'It might be {"total": 4}, or so.'
    with using(lm=says(text, '{"total": 5}'), runtime=Runtime()):
        pieces = list(count().stream(question="How many?"))
    assert {piece.text for piece in pieces} == {"5"}
    assert pieces[-1].value == 5


def test_an_unreadable_second_reply_is_corrected() -> None:
    lm = says(FREE, "five", '{"total": 5}')
    with using(lm=lm, runtime=Runtime()):
        assert count()(question="How many?").total == 5
    assert [turn.role for turn in lm.requests[2].messages] == [
        *("system", "user", "assistant", "user")
    ]


def test_an_empty_text_is_asked_for_again_in_another_question(tmp_path: Path) -> None:
    lm = says("", FREE, '{"total": 5}')
    with using(lm=lm, runtime=Runtime(store=Cache(tmp_path))):
        assert count()(question="How many?").total == 5
    assert [turn.role for turn in lm.requests[1].messages] == [
        *("system", "user", "assistant", "user")
    ]


def test_a_cut_text_is_asked_for_again_with_more_room() -> None:
    lm = says(Reply("Two and", finish="length"), FREE, '{"total": 5}', max_tokens=50)
    with using(lm=lm, runtime=Runtime()):
        assert count()(question="How many?").total == 5
    assert [request.lm.max_tokens for request in lm.requests] == [50, 100, 50]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply("Two and", finish="length"), CutError),
        (Reply("", refusal="I will not count."), RefusalError),
        (Reply("", reasoning="Five?"), OutputError),
        (Reply(""), OutputError),
    ],
)
def test_a_first_reply_that_is_no_answer(reply: Reply, error: type[Exception]) -> None:
    with using(lm=says(reply), runtime=Runtime()), pytest.raises(error):
        count(retries=0)(question="How many?")


def test_the_thoughts_of_the_first_step_are_the_reasoning() -> None:
    first = Reply(FREE, reasoning="2 + 3")
    program = lmpipe.ChainOfThought(Count, layout="two-step", native_reasoning=True)
    lm = says(first, Reply('{"total": 5}', reasoning="I copy it."))
    with using(lm=lm, runtime=Runtime()):
        result = program(question="How many?")
    assert (result.reasoning, result.total) == ("2 + 3", 5)


def test_both_replies_are_in_the_trace() -> None:
    trace = Trace()
    with using(lm=says(FREE, '{"total": 5}'), runtime=Runtime()), scope(trace=trace):
        count()(question="How many?")
    (step,) = trace.steps
    assert step.replies == (FREE, '{"total": 5}')
    assert step.usage.completion_tokens == len(FREE.split()) + 2


def test_its_maximum_of_calls_counts_both_steps() -> None:
    assert count(retries=1).calls_per_run() == 4
    assert count(retries=0).calls_per_run() == 2


def test_demonstrations_answer_in_words() -> None:
    program = count()
    demo = Demo(inputs={"question": "None?"}, outputs={"total": 0})
    program = program.bind(program.state().map(demos=(demo,)))
    turns = [turn.content for turn in program.messages(question="How many?")]
    assert turns[1:] == ["Question: None?", "Total: 0", "Question: How many?"]


def test_an_empty_first_reply_is_not_asked_for_in_the_same_words(tmp_path: Path) -> None:
    lm = says("", FREE, '{"total": 5}')
    with using(lm=lm, runtime=Runtime(store=Cache(tmp_path))):
        assert count()(question="How many?").total == 5
    assert [turn.role for turn in lm.requests[1].messages][-2:] == ["assistant", "user"]
    assert "the reply is empty" in lm.requests[1].messages[-1].text


def test_a_first_reply_that_is_asked_for_again_is_told_to_a_stream() -> None:
    with using(lm=says("", FREE, '{"total": 5}'), runtime=Runtime()):
        events = list(count().stream(question="How many?").events())
    told = [event.reason for event in events if isinstance(event, Retrying)]
    assert told == ["the reply is empty"]
