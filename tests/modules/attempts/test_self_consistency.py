"""`SelfConsistency`: the answer that most samples agree on."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from helpers.sampling import AsyncGuesser, Guess, Guesser, replies_by_sample

import lmpipe
from lmpipe.errors import CallError, ConfigError, OutputError
from lmpipe.modules.module import run_traced
from lmpipe.state.trace import Trace


@pytest.mark.parametrize(
    "program",
    [Guesser(), AsyncGuesser(), lmpipe.Predict(Guess)],
    ids=lambda item: type(item).__name__,
)
async def test_the_most_frequent_answer_is_returned_however_it_is_run(program: Any) -> None:
    agreed: Any = lmpipe.SelfConsistency(program, n=4)
    with replies_by_sample("0", "1", "2", "3", "2"):
        first = agreed(question="?")
        assert getattr(first, "number", first) == 2
        assert await agreed.acall(question="?") == first
        assert agreed.batch([{"question": "?"}] * 2) == [first, first]
        with agreed.stream(question="?") as stream:
            list(stream)
        assert stream.result == first


def test_a_greedy_lm_is_sampled() -> None:
    with replies_by_sample() as lm:
        lmpipe.SelfConsistency(lmpipe.Predict(Guess, temperature=0), n=3)(question="?")
    assert [request.lm.temperature for request in lm.requests] == [0.7] * 3


def test_samples_that_cannot_be_read_have_no_vote() -> None:
    with replies_by_sample("0", "none", "none", "4"):
        assert lmpipe.SelfConsistency(Guesser(), n=3)(question="?") == 4


def test_the_first_error_is_raised_if_no_sample_can_be_read() -> None:
    with replies_by_sample("none"), pytest.raises(OutputError, match="none"):
        lmpipe.SelfConsistency(Guesser(), n=3)(question="?")


def parity(number: int) -> int:
    return number % 2


def test_samples_are_compared_by_a_field_and_as_normalized() -> None:
    agreed = lmpipe.SelfConsistency(
        lmpipe.ChainOfThought(Guess), n=3, field="number", normalize=parity
    )
    script = lmpipe.ScriptedLM(
        lambda request: f"[[reasoning]]\n{request.sample}\n\n[[number]]\n{request.sample + 1}"
    )
    with lmpipe.using(lm=script):
        assert agreed(question="?").number == 2  # of 2, 3 and 4
    assert pickle.loads(pickle.dumps(agreed)).settings() == agreed.settings()


def test_only_the_steps_of_the_returned_sample_are_traced() -> None:
    trace, calls = Trace(), list[Any]()
    with replies_by_sample("9", "1", "2", "2"):
        running = run_traced(
            lmpipe.SelfConsistency(Guesser(), n=3), {"question": "?"}, trace, calls=calls
        )
        asyncio.run(running)
    assert [step.outputs for step in trace.steps] == [{"number": 2}]
    assert len(calls) == 3


def test_the_maximum_of_calls_is_known() -> None:
    assert lmpipe.SelfConsistency(lmpipe.Predict(Guess), n=5).calls_per_run() == 10


def test_a_field_that_the_program_does_not_give_is_an_error() -> None:
    with replies_by_sample(), pytest.raises(CallError, match="no such output; it has number"):
        lmpipe.SelfConsistency(lmpipe.Predict(Guess), n=2, field="answer")(question="?")


def test_some_samples_are_needed() -> None:
    with pytest.raises(ConfigError, match=r"SelfConsistency\(n=0\)"):
        lmpipe.SelfConsistency(Guesser(), n=0)
