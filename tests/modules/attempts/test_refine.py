"""`Refine`: attempts with advice from the one before."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.sampling import AsyncGuesser, Guess, Guesser

import lmpipe
from lmpipe.errors import OutputError
from lmpipe.lm.events import PredictorStarted
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules.binding import uncounted_uses
from lmpipe.modules.module import Predictor, run_traced
from lmpipe.settings import using
from lmpipe.state.trace import Trace
from lmpipe.tools.running import run_tool


def is_advice(request: Request) -> bool:
    return "Advise the steps" in request.messages[0].text


def script(request: Request) -> str:
    """Guess one more than the advice says, or 1; advise with the score of the last result."""
    asked = request.messages[1].text
    if is_advice(request):
        score = int(float(asked.partition("[[score]]\n")[2].split()[0]))
        if score == 13:
            return "no advice today"
        return f'[[diagnosis]]\nLow.\n\n[[advice]]\n{{"guess": "after {score}"}}'
    told = request.messages[0].text.partition("Advice for this one: after ")[2].partition("\n")[0]
    if told == "2" and "unreadable" in asked:
        return "[[number]]\nnone"
    return f"[[number]]\n{int(told) + 1 if told else 13 if 'thirteen' in asked else 1}"


@pytest.fixture(autouse=True)
def lm() -> Iterator[ScriptedLM]:
    made = ScriptedLM(script)
    with using(lm=made, runtime=Runtime(retry=RetryPolicy(attempts=1))):
        yield made


def high(inputs: Any, prediction: Any) -> float:
    """Higher is better."""
    return float(getattr(prediction, "number", prediction))


def refined(program: Any = None, n: int = 5, threshold: float | None = 3, **options: Any) -> Any:
    program = Guesser() if program is None else program
    return lmpipe.Refine(program, n=n, reward=high, threshold=threshold, **options)


def text(result: Any) -> int:
    return int(getattr(result, "number", result))


@pytest.mark.parametrize(
    "program",
    [Guesser(), AsyncGuesser(), lmpipe.Predict(Guess, retries=0)],
    ids=lambda item: type(item).__name__,
)
async def test_each_attempt_gets_the_advice_of_the_one_before(program: Any, lm: ScriptedLM) -> None:
    refine = refined(program)
    assert text(refine(question="?")) == 3
    assert len(lm.requests) == 5  # three attempts, and advice between them
    assert text(await refine.acall(question="?")) == 3
    assert [text(one) for one in refine.batch([{"question": "?"}] * 2)] == [3, 3]


def test_streams_name_the_advised_steps_as_the_program_does() -> None:
    with refined().stream(question="?") as stream:
        pieces = [(piece.predictor, piece.field) for piece in stream]
    assert set(pieces) == {
        ("program.guess", "number"),
        ("advise", "diagnosis"),
        ("advise", "advice"),
    }
    assert stream.result == 3


def test_without_a_threshold_all_attempts_are_made_and_the_best_returned(lm: ScriptedLM) -> None:
    refine = lmpipe.Refine(Guesser(), n=3, reward=lambda _, number: -abs(number - 2))
    assert refine(question="?") == 1  # the advice repeats a negative score
    assert len(lm.requests) == 5


def test_advice_is_asked_with_all_that_is_known(lm: ScriptedLM) -> None:
    def reward(inputs: Any, prediction: int) -> lmpipe.Score:
        return lmpipe.Score(prediction, feedback="too low")

    lmpipe.Refine(Guesser(), n=2, reward=reward, threshold=9)(question="how many?", plus=1)
    (asked,) = [request.messages[-1].text for request in lm.requests if is_advice(request)]
    assert "guess: Guess(question: str) -> (number: int)\nGuess the number." in asked
    assert '[[inputs]]\n{"question":"how many?","plus":1}' in asked
    assert '{"step":"guess","inputs":{"question":"how many?"},"outputs":{"number":1}}' in asked
    assert "[[feedback]]\ntoo low" in asked
    assert 'feedback="too low"' in asked  # the code of the reward
    assert "[[target]]\n9" in asked
    assert "[[result]]\n2" in asked


def test_an_advisor_is_another_lm() -> None:
    other = ScriptedLM(script, name="advisor")
    assert refined(advisor=other)(question="?") == 3
    assert len(other.requests) == 2


def test_advice_that_cannot_be_read_leaves_another_sample(lm: ScriptedLM) -> None:
    assert refined(n=2, threshold=99)(question="thirteen") == 13
    advice = [request for request in lm.requests if is_advice(request)]
    attempts = [request for request in lm.requests if not is_advice(request)]
    assert len(advice) == 2  # asked again once
    assert [request.sample for request in attempts] == [0, 1]


def test_after_an_unreadable_attempt_the_last_advice_stands() -> None:
    # 1, 2, unreadable after 2, and then again.
    assert refined(n=4)(question="unreadable") == 2


def test_the_first_error_is_raised_if_all_attempts_fail() -> None:
    with using(lm=ScriptedLM(lambda _: "[[number]]\nnone")), pytest.raises(OutputError):
        refined()(question="?")


async def test_the_trace_has_the_returned_attempt_and_the_advice_that_led_to_it() -> None:
    refine = refined()
    bound = refine.bind(refine.state())
    trace, calls = Trace(), list[Any]()
    await run_traced(bound, {"question": "?"}, trace, calls=calls)
    assert [step.predictor for step in trace.steps] == ["advise", "program.guess"]
    assert trace.steps[0].outputs["advice"] == {"guess": "after 2"}
    assert trace.steps[1].inputs == {"question": "?"}
    assert trace.steps[1].outputs == {"number": 3}
    assert len(calls) == 5


class Two(lmpipe.Module):
    def __init__(self) -> None:
        self.first = lmpipe.Predict("question -> number: int")
        self.second = lmpipe.Predict("question -> number: int")

    def forward(self, question: str) -> int:
        return self.first(question=question).number + self.second(question=question).number


def advised(advice: dict[str, str]) -> list[str]:
    """The instructions of the second attempt at a program of two equal steps."""

    def script(request: Request) -> str:
        if is_advice(request):
            return f"[[diagnosis]]\nx\n\n[[advice]]\n{json.dumps(advice)}"
        return "[[number]]\n1"

    lm = ScriptedLM(script)
    with using(lm=lm):
        refined(Two(), n=2, threshold=9)(question="?")
    told = [request.messages[0].text for request in lm.requests if not is_advice(request)]
    return [text.partition("Advice for this one: ")[2].partition("\n")[0] for text in told[2:]]


def test_advice_reaches_the_step_that_it_is_for() -> None:
    assert advised({"second": "More."}) == ["", "More."]
    assert advised({" first ": "Less.", "second": "N/A.", "third": "x"}) == ["Less.", ""]
    assert advised({}) == ["", ""]


def test_equal_steps_are_told_apart_before_they_are_bound(lm: ScriptedLM) -> None:
    refined(Two(), n=2, threshold=9)(question="?")
    (asked,) = [request.messages[-1].text for request in lm.requests if is_advice(request)]
    assert '"step":"first"' in asked
    assert '"step":"second"' in asked


def test_streams_name_equal_steps_as_the_program_does() -> None:
    with refined(Two(), n=2, threshold=9).stream(question="?") as stream:
        predictors = {piece.predictor for piece in stream}
    assert predictors == {"program.first", "program.second", "advise"}


def test_the_only_step_gets_the_advice_whatever_it_is_called(lm: ScriptedLM) -> None:
    assert refined(lmpipe.Predict(Guess))(question="?").number == 3  # advice is for "guess"


def test_the_program_and_its_state_are_not_changed() -> None:
    refine = refined()
    before = refine.state()
    refine(question="?")
    assert refine.state() == before


def test_a_learned_state_is_kept_in_attempts_with_advice(lm: ScriptedLM) -> None:
    refine = refined()
    demo = lmpipe.Demo(inputs={"question": "one?"}, outputs={"number": 1})
    learned = refine.state()["program.guess"].replace(instruction="Learned.", demos=(demo,))
    bound = refine.bind(refine.state().update({"program.guess": learned}))
    assert bound(question="?") == 3
    attempts = [request for request in lm.requests if not is_advice(request)]
    assert all(request.messages[0].text.startswith("Learned.") for request in attempts)
    assert {len(request.messages) for request in attempts} == {4}


def test_advice_is_asked_for_with_what_was_learned(lm: ScriptedLM) -> None:
    refine = refined()
    learned = refine.state()["program.guess"].replace(
        instruction="Learned.", descriptions={"number": "a prime number"}
    )
    refine.bind(refine.state().update({"program.guess": learned}))(question="?")
    asked = [request.messages[1].text for request in lm.requests if is_advice(request)]
    assert asked
    assert all("Learned." in text and "number: a prime number" in text for text in asked)


def test_the_maximum_of_calls_is_known() -> None:
    refine = refined(n=4)
    assert refine.calls_per_run() == 4 + 3 * 2
    assert uncounted_uses(refine, Predictor) == []


def test_it_is_pickled_with_its_state() -> None:
    refine = refined()
    bound = refine.bind(refine.state().map(instruction="Learned."))
    assert pickle.loads(pickle.dumps(bound)).state() == bound.state()


def test_the_same_calls_are_made_again(lm: ScriptedLM) -> None:
    keys = []
    for _ in range(2):
        lm.requests.clear()
        asyncio.run(refined().acall(question="?"))
        keys.append([request.key("") for request in lm.requests])
    assert keys[0] == keys[1]


def test_listeners_are_told_the_steps_by_the_paths_of_the_program() -> None:
    told: list[str] = []

    def listener(event: Any) -> None:
        if isinstance(event, PredictorStarted):
            told.append(event.predictor)

    with lmpipe.observing(listener):
        refined()(question="?")
    assert told == ["program.guess", "advise", "program.guess", "advise", "program.guess"]


class LooksUp(lmpipe.Module):
    """Uses a tool and then guesses."""

    def __init__(self) -> None:
        self.guess = lmpipe.Predict(Guess)

    async def forward(self, question: str) -> int:
        found = await run_tool(lmpipe.Tool.of(look_up), {"word": question})
        return (await self.guess.acall(question=found.text)).number


def look_up(word: str) -> str:
    """Look a word up."""
    return f"about {word}"


def test_advice_is_asked_with_the_runs_of_tools(lm: ScriptedLM) -> None:
    refined(LooksUp(), n=2, threshold=9)(question="bells")
    (asked,) = [request.messages[1].text for request in lm.requests if is_advice(request)]
    assert (
        '[{"tool":"look_up","arguments":{"word":"bells"},"result":"about bells"},'
        '{"step":"guess","inputs":{"question":"about bells"},"outputs":{"number":1}}]'
    ) in asked


class Searches(lmpipe.Module):
    """Ask about what a search finds."""

    def __init__(self) -> None:
        self.search = lmpipe.Retrieve(found, k=1)
        self.guess = lmpipe.Predict(Guess)

    def forward(self, question: str) -> Guess:
        return self.guess(question=self.search(question)[0].text)


def found(query: str, k: int) -> list[dict[str, str]]:
    return [{"id": "p1", "text": f"about {query}"}]


def test_advice_is_asked_with_the_searches(lm: ScriptedLM) -> None:
    refined(Searches(), n=2, threshold=9)(question="bells")
    (asked,) = [request.messages[1].text for request in lm.requests if is_advice(request)]
    assert (
        '[{"search":"found","queries":["bells"],"passages":[[{"id":"p1","text":"about bells"}]]},'
        '{"step":"guess","inputs":{"question":"about bells"},"outputs":{"number":1}}]'
    ) in asked
