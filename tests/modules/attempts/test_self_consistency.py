"""`SelfConsistency`: the answer that most samples agree on."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from helpers.fake_server import FakeServer
from helpers.sampling import AsyncGuesser, Guess, Guesser, replies_by_sample

import lmpipe
from lmpipe.errors import CallError, ConfigError, OutputError
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.modules.module import run_traced
from lmpipe.settings import using
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


@pytest.mark.parametrize("program", [Guesser(), lmpipe.Predict(Guess, retries=0)])
async def test_only_the_steps_of_the_returned_sample_are_traced(program: Any) -> None:
    trace, calls = Trace(), list[Any]()
    agreed = lmpipe.SelfConsistency(program, n=3)
    with replies_by_sample("9", "1", "2", "2"):
        await run_traced(agreed, {"question": "?"}, trace, calls=calls)
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


def test_a_stream_makes_the_calls_of_a_plain_run() -> None:
    agreed = lmpipe.SelfConsistency(lmpipe.Predict(Guess, temperature=0), n=3)
    asked = []
    for run in (agreed, lambda question: list(agreed.stream(question=question))):
        with replies_by_sample() as lm:
            run(question="?")
        asked.append(sorted(request.key() for request in lm.requests))
    assert asked[0] == asked[1]


@pytest.mark.parametrize("program", [Guesser(), lmpipe.Predict(Guess, retries=0)])
async def test_samples_of_a_run_do_not_share_calls(program: Any) -> None:
    agreed: Any = lmpipe.SelfConsistency(program, n=2)
    with replies_by_sample() as lm:
        for number in range(2):
            with scope(sample=number):
                await agreed.acall(question="?")
    assert sorted(request.sample for request in lm.requests) == [1, 2, 3, 4]


@pytest.mark.parametrize("program", [Guesser(), lmpipe.Predict(Guess, retries=0)])
async def test_all_steps_are_traced_if_no_sample_can_be_read(program: Any) -> None:
    trace = Trace()
    with replies_by_sample("none"), pytest.raises(OutputError):
        await run_traced(lmpipe.SelfConsistency(program, n=2), {"question": "?"}, trace)
    assert [bool(step.error) for step in trace.steps] == [True, True]


def test_one_request_draws_the_samples_of_a_predictor() -> None:
    with FakeServer(lambda body: "[[number]]\n7") as server:
        lm = lmpipe.LM("vllm/fake", base_url=server.base_url, temperature=1.0)
        with using(lm=lm, runtime=Runtime()):
            assert lmpipe.SelfConsistency(lmpipe.Predict(Guess), n=3)(question="?").number == 7
        assert [body.get("n") for body in server.bodies] == [3]
