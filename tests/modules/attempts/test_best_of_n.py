"""`BestOfN`: the prediction with the highest reward."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from helpers.sampling import AsyncGuesser, Guess, Guesser, replies_by_sample

import lmpipe
from lmpipe.errors import CallError, ConfigError, LMUnavailableError, MetricError, OutputError
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules.binding import uncounted_uses
from lmpipe.modules.module import Predictor, run_traced
from lmpipe.settings import using
from lmpipe.state.program_state import ensemble_state
from lmpipe.state.trace import Trace


def value(prediction: Any) -> int:
    return int(getattr(prediction, "number", prediction))


def near_three(inputs: Any, prediction: Any) -> float:
    return -abs(value(prediction) - 3)


def near_three_with_feedback(example: Any, prediction: Any, trace: Any = None) -> lmpipe.Score:
    return lmpipe.Score(1 / (1 + abs(value(prediction) - 3)), "as a metric")


async def near_three_async(inputs: Any, prediction: Any) -> float:
    await asyncio.sleep(0)
    return near_three(inputs, prediction)


class NearThree(lmpipe.Module):
    """A reward that is a program."""

    def __init__(self) -> None:
        self.judge = lmpipe.Predict("given: int -> number: int", retries=0)

    def forward(self, example: lmpipe.Example, prediction: Any) -> bool:
        return self.judge(given=value(prediction)).number == 3


PROGRAMS = [Guesser(), AsyncGuesser(), lmpipe.Predict(Guess, retries=0)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda item: type(item).__name__)
@pytest.mark.parametrize(
    "reward", [near_three, near_three_with_feedback, near_three_async, NearThree()]
)
async def test_the_best_attempt_is_returned_however_it_is_run(program: Any, reward: Any) -> None:
    best: Any = lmpipe.BestOfN(program, n=5, reward=reward)
    with replies_by_sample():
        assert value(best(question="?")) == 3
        assert value(await best.acall(question="?")) == 3
        assert [value(one) for one in best.batch([{"question": "?"}] * 2)] == [3, 3]
        with best.stream(question="?") as stream:
            pieces = list(stream)
        assert value(stream.result) == 3
    assert {piece.predictor for piece in pieces} <= set(best.predictors())


def test_of_equal_rewards_the_earliest_attempt_wins() -> None:
    with replies_by_sample("8", "5", "5", "1"):
        best = lmpipe.BestOfN(lmpipe.Predict(Guess), n=4, reward=lambda _, got: got.number == 5)
        trace = Trace()
        assert asyncio.run(run_traced(best, {"question": "?"}, trace)).number == 5
    assert trace.steps[0].replies == ("[[number]]\n5",)
    assert len(trace.steps) == 1


def test_the_first_attempt_is_the_ordinary_run() -> None:
    program = lmpipe.Predict(Guess)
    with replies_by_sample() as lm:
        program(question="?")
        lmpipe.BestOfN(program, n=3, reward=near_three)(question="?")
    ordinary, *attempts = lm.requests
    assert [request.sample for request in attempts] == [0, 1, 2]
    assert attempts[0] == ordinary


def test_nothing_is_asked_after_an_attempt_that_reaches_the_threshold() -> None:
    best = lmpipe.BestOfN(Guesser(), n=9, reward=lambda _, number: number, threshold=2)
    with replies_by_sample() as lm:
        assert best(question="?") == 2
    assert len(lm.requests) == 3


def test_a_threshold_that_no_attempt_reaches_gives_the_best() -> None:
    best = lmpipe.BestOfN(Guesser(), n=3, reward=lambda _, number: -number, threshold=5.0)
    with replies_by_sample("4", "2", "6"):
        assert best(question="?") == 2


def test_a_reward_reads_the_inputs_by_name() -> None:
    seen: list[Any] = []

    def reward(inputs: Any, prediction: int) -> bool:
        seen.append((inputs["question"], inputs.question, dict(inputs)))
        return True

    with replies_by_sample():
        lmpipe.BestOfN(Guesser(), n=1, reward=reward)("?", plus=1)
    assert seen == [("?", "?", {"question": "?", "plus": 1})]


@lmpipe.predict
def guess(question: str) -> int:
    """Guess."""
    raise NotImplementedError


def test_a_typed_function_is_attempted_with_its_arguments() -> None:
    def reward(inputs: Any, prediction: int) -> bool:
        return bool(inputs.question == "?" and prediction == 2)

    nested = lmpipe.BestOfN(
        lmpipe.BestOfN(guess, n=3, reward=reward), n=1, reward=reward, threshold=1
    )
    script = lmpipe.ScriptedLM(lambda request: f"[[result]]\n{request.sample}", name="result")
    with using(lm=script):
        assert nested("?") == 2


# --- failures


def test_an_unreadable_attempt_counts_as_failed() -> None:
    best = lmpipe.BestOfN(Guesser(), n=3, reward=lambda _, number: number)
    with replies_by_sample("none", "2", "1"):
        assert best(question="?") == 2


def test_the_first_error_is_raised_if_all_attempts_fail_and_all_steps_are_kept() -> None:
    best = lmpipe.BestOfN(Guesser(), n=2, reward=near_three)
    trace = Trace()
    with replies_by_sample("none", "nil"), pytest.raises(OutputError, match="none"):
        asyncio.run(run_traced(best, {"question": "?"}, trace))
    assert [step.replies[0] for step in trace.steps] == ["[[number]]\nnone", "[[number]]\nnil"]


@pytest.mark.parametrize("threshold", [None, 1.0])
def test_an_lm_that_is_down_is_no_failed_attempt(threshold: float | None) -> None:
    def down(request: Request) -> str:
        if request.sample == 1:
            raise LMUnavailableError("down")
        return "[[number]]\n0"

    best = lmpipe.BestOfN(Guesser(), n=3, reward=near_three, threshold=threshold)
    runtime = Runtime(retry=RetryPolicy(attempts=1))
    with (
        using(lm=lmpipe.ScriptedLM(down, name="down"), runtime=runtime),
        pytest.raises(LMUnavailableError),
    ):
        best(question="?")


def test_errors_of_the_reward_are_raised() -> None:
    def broken(inputs: Any, prediction: int) -> float:
        raise ZeroDivisionError

    with replies_by_sample(), pytest.raises(ZeroDivisionError):
        lmpipe.BestOfN(Guesser(), n=2, reward=broken)(question="?")


@pytest.mark.parametrize("result", [None, "good", float("nan"), [1.0]])
def test_a_reward_that_is_no_number_is_an_error(result: Any) -> None:
    with replies_by_sample(), pytest.raises(MetricError, match="'<lambda>' returned"):
        lmpipe.BestOfN(Guesser(), n=2, reward=lambda *_: result)(question="?")


def test_wrong_inputs_are_an_error_at_once() -> None:
    best: Any = lmpipe.BestOfN(lmpipe.Predict(Guess), n=2, reward=near_three)
    with replies_by_sample() as lm, pytest.raises(CallError, match="missing 'question'"):
        best(query="?")
    assert lm.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be a whole number, 1 or more|n must be 1 or more"),
        ({"threshold": "high"}, "threshold must be a number"),
        ({"threshold": float("nan")}, "threshold must be a finite number"),
        ({"program": Guesser}, r"give an instance, Guesser\(\)"),
        ({"reward": "good"}, "a reward takes .inputs, prediction.*cannot be called"),
        ({"reward": lambda prediction: 1.0}, "a reward takes .inputs, prediction"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"program": Guesser(), "n": 2, "reward": near_three} | options
    with pytest.raises(ConfigError, match=message):
        lmpipe.BestOfN(given.pop("program"), **given)


# --- traces, budgets, states


async def test_only_the_steps_of_the_returned_attempt_are_traced_and_all_calls_counted() -> None:
    best = lmpipe.BestOfN(Guesser(), n=4, reward=lambda _, number: number == 2)
    trace, calls = Trace(), list[Any]()
    with replies_by_sample():
        await run_traced(best, {"question": "?"}, trace, calls=calls)
    assert [step.outputs for step in trace.steps] == [{"number": 2}]
    assert len(calls) == 4


async def test_attempts_are_recorded_in_their_order_whichever_is_faster() -> None:
    class Late(lmpipe.Module):
        """Later samples end first."""

        def __init__(self) -> None:
            self.guess = lmpipe.Predict(Guess)
            self.ended = {number: asyncio.Event() for number in range(4)}

        async def forward(self, question: str) -> Guess:
            got = await self.guess.acall(question=question)
            if got.number + 1 < 3:
                await self.ended[got.number + 1].wait()
            self.ended[got.number].set()
            return got

    calls = list[Any]()
    with replies_by_sample() as lm:
        best = lmpipe.BestOfN(Late(), n=3, reward=near_three)
        assert (await run_traced(best, {"question": "?"}, Trace(), calls=calls)).number == 2
    assert [call.reply.text for call in calls] == [f"[[number]]\n{n}" for n in range(3)]
    assert len(lm.requests) == 3


def test_usage_counts_all_attempts() -> None:
    best = lmpipe.BestOfN(lmpipe.Predict(Guess), n=4, reward=near_three)
    with replies_by_sample():
        assert lmpipe.usage_of(best(question="?")).total.calls == 4


def test_samples_of_a_run_do_not_share_attempts() -> None:
    best = lmpipe.BestOfN(Guesser(), n=3, reward=near_three)
    with replies_by_sample() as lm:
        for number in range(2):
            with scope(sample=number):
                best(question="?")
    assert sorted(request.sample for request in lm.requests) == [0, 1, 2, 3, 4, 5]


def test_the_maximum_of_calls_is_known() -> None:
    retried = lmpipe.Predict(Guess, retries=2)
    assert lmpipe.BestOfN(retried, n=4, reward=near_three).calls_per_run() == 12
    assert lmpipe.BestOfN(Guesser(), n=4, reward=NearThree()).calls_per_run() == 8
    judged = lmpipe.metrics.judge(max_calls=2)(lambda inputs, prediction: 1.0)
    nested = lmpipe.BestOfN(lmpipe.BestOfN(Guesser(), n=2, reward=judged), n=3, reward=near_three)
    assert nested.calls_per_run() == 3 * (2 + 2 * 2)
    assert uncounted_uses(nested, Predictor) == []


def test_a_program_uses_it_like_a_predictor() -> None:
    class Twice(lmpipe.Module):
        def __init__(self) -> None:
            self.best = lmpipe.BestOfN(Guesser(), n=3, reward=near_three)

        def forward(self, question: str) -> int:
            return sum(self.best(question=question) for _ in range(2))

    with replies_by_sample():
        assert Twice()(question="?") == 4
    assert Twice().calls_per_run() == 6


def test_states_reach_the_program_and_the_reward() -> None:
    best = lmpipe.BestOfN(Guesser(), n=2, reward=NearThree())
    assert list(best.predictors()) == ["program.guess", "reward.judge"]
    bound = best.bind(best.state().map(instruction="Learned."))
    with replies_by_sample() as lm:
        bound(question="?")
    assert all(request.messages[0].text.startswith("Learned.") for request in lm.requests)
    assert len(lm.requests) == 4
    assert best.state()["program.guess"].instruction == "Guess the number."


def test_an_ensemble_of_it_votes() -> None:
    best = lmpipe.BestOfN(Guesser(), n=2, reward=near_three)
    voting = best.bind(ensemble_state([best.state(), best.state().map(instruction="Other.")]))
    with replies_by_sample():
        assert voting(question="?") == 1


def test_it_is_pickled_with_its_state() -> None:
    best = lmpipe.BestOfN(Guesser(), n=2, reward=NearThree(), threshold=0.5)
    bound = best.bind(best.state().map(instruction="Learned."))
    again = pickle.loads(pickle.dumps(bound))
    assert again.state() == bound.state()
    with replies_by_sample("0", "3"):
        assert again(question="?") == 3


class Checked(lmpipe.Module):
    """Checks the best of three guesses, without saying whose answer it is."""

    def __init__(self) -> None:
        guess = lmpipe.Predict(Guess, retries=0)
        self.best = lmpipe.BestOfN(guess, n=3, reward=near_three)

    def forward(self, question: str) -> Guess:
        found = self.best(question=question)
        lmpipe.check(found.number % 2 == 0, "Guess an even number.")
        return found


def test_a_check_sends_back_the_attempt_that_was_returned() -> None:
    def script(request: Request) -> str:
        even = "Guess an even number." in request.messages[-1].text
        return f"[[number]]\n{2 * request.sample + (not even)}"

    lm = lmpipe.ScriptedLM(script)
    with using(lm=lm, runtime=Runtime()):
        assert Checked()(question="?").number == 2
    assert [request.sample for request in lm.requests] == [0, 1, 2, 1]
