"""Ensembles: one program, bound to several states at once, that votes."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import lmpipe
from lmpipe.compiling.recipe import source_hash
from lmpipe.errors import (
    ArtifactError,
    CallError,
    ConfigError,
    LMUnavailableError,
    OutputError,
    RecipeError,
)
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules.module import run_traced
from lmpipe.settings import using
from lmpipe.state.program_state import ProgramState, ensemble_state, member_states
from lmpipe.state.trace import Trace


def told(request: Request) -> str:
    """Answers with the instruction: who is told `bad` gives nothing to read, `away` is away."""
    word = request.messages[0].content.split()[0]
    if word == "away":
        raise LMUnavailableError("away")
    if word == "bad":
        return "nothing"
    reasoning = f"## reasoning\n{len(request.messages[-1].content)}\n\n"
    return (reasoning if "reasoning" in request.messages[0].content else "") + (
        f"## answer\n{word}" if "answer" in request.messages[0].content else f"## result\n{word}"
    )


@pytest.fixture(autouse=True)
def lm() -> Iterator[ScriptedLM]:
    made = ScriptedLM(told)
    with using(lm=made, runtime=Runtime(retry=RetryPolicy(attempts=1))):
        yield made


class One(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = lmpipe.Predict("question -> answer")

    def forward(self, question: str, times: int = 1) -> str:
        return str(self.ask(question=question).answer) * times


class AsyncOne(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = lmpipe.Predict("question -> answer")

    async def forward(self, question: str) -> str:
        return str((await self.ask.acall(question=question)).answer)


@lmpipe.predict
def shout(question: str) -> str:
    """Shout."""
    raise NotImplementedError


def programs() -> list[Any]:
    return [
        One(),
        AsyncOne(),
        lmpipe.Predict("question -> answer"),
        lmpipe.ChainOfThought("question -> answer"),
        shout,
    ]


def states(program: Any, words: str) -> list[ProgramState]:
    return [program.state().map(instruction=word) for word in words.split()]


def bound(program: Any, words: str, reduce: str = "majority") -> Any:
    return program.bind(ensemble_state(states(program, words), reduce=reduce))


def text(result: Any) -> Any:
    return getattr(result, "answer", result)


every = pytest.mark.parametrize("program", programs(), ids=lambda item: type(item).__name__)


# --- running


@every
async def test_members_vote_through_every_door(program: Any) -> None:
    voting = bound(program, "a b b")
    assert text(voting(question="?")) == "b"
    assert text(await voting.acall(question="?")) == "b"
    assert [text(item) for item in voting.batch([{"question": n} for n in "123"])] == ["b"] * 3
    with voting.stream(question="?") as stream:
        pieces = list(stream)
    assert text(stream.result) == "b"
    assert {piece.predictor.partition(".")[0] for piece in pieces} == {
        "members[0]",
        "members[1]",
    }


@every
async def test_traces_name_members_in_their_order(program: Any) -> None:
    trace = Trace()
    await run_traced(bound(program, "a b c"), {"question": "?"}, trace)
    (path,) = program.predictors()
    assert [step.predictor for step in trace.steps] == [f"members[{n}].{path}" for n in range(3)]


async def test_the_order_of_traces_and_calls_does_not_depend_on_who_was_quicker() -> None:
    class Waits(lmpipe.Module):
        def __init__(self) -> None:
            self.turn = {"late": asyncio.Event()}
            self.ask = lmpipe.Predict("question -> answer")

        async def forward(self, question: str) -> str:
            first = self.ask.state()["self"].instruction == "first"
            if first:
                await self.turn["late"].wait()
            answer = str((await self.ask.acall(question=question)).answer)
            self.turn["late"].set()
            return answer

    trace, calls = Trace(), list[Any]()
    await run_traced(bound(Waits(), "first second"), {"question": "?"}, trace, calls=calls)
    assert [step.predictor for step in trace.steps] == ["members[0].ask", "members[1].ask"]
    assert [call.label for call in calls] == ["members[0].ask", "members[1].ask"]


def test_equal_members_run_once_and_count_as_often_as_they_are_there(lm: ScriptedLM) -> None:
    voting = bound(One(), "a b b c b")
    assert voting("?") == "b"
    assert len(lm.requests) == 3
    assert voting.calls_per_run() == 3 * One().calls_per_run()
    assert list(voting.predictors()) == [f"members[{n}].ask" for n in range(5)]


def test_calls_per_run_counts_what_a_class_says_for_each_member() -> None:
    class Loop(One):
        max_calls = 7

    assert bound(Loop(), "a b b").calls_per_run() == 14


def test_a_run_may_make_the_calls_of_all_members_and_no_more() -> None:
    voting = bound(One(), "a b")
    for limit in (2, 3):
        asyncio.run(run_traced(voting, {"question": "?"}, Trace(), max_calls=limit))
    with pytest.raises(RecipeError, match="more than 1 LM calls"):
        asyncio.run(run_traced(voting, {"question": "?"}, Trace(), max_calls=1))


def test_per_field_is_chosen_by_name() -> None:
    program = lmpipe.Predict("question -> answer: int")
    assert bound(program, "1 50 2", "per_field")(question="?").answer == 2


async def test_a_sync_call_on_the_librarys_loop_is_told() -> None:
    class Forgetful(lmpipe.Module):
        def __init__(self) -> None:
            self.inner = bound(One(), "a b")

        async def forward(self) -> Any:
            return self.inner("?")

    with pytest.raises(ConfigError, match="without await"):
        Forgetful()()


# --- failures


@every
def test_a_member_whose_reply_cannot_be_read_has_no_vote(program: Any) -> None:
    assert text(bound(program, "bad bad b")(question="?")) == "b"


def test_if_no_reply_can_be_read_the_first_members_error_is_raised() -> None:
    with pytest.raises(OutputError, match=r"^members\[0\]\.ask"):
        bound(One(), "bad bad")("?")


def test_a_failed_members_step_is_in_the_trace() -> None:
    trace = Trace()
    asyncio.run(run_traced(bound(One(), "bad b"), {"question": "?"}, trace))
    assert [bool(step.error) for step in trace.steps] == [True, False]


@every
def test_an_lm_that_is_away_is_no_missing_vote(program: Any) -> None:
    with pytest.raises(LMUnavailableError):
        bound(program, "a away a")(question="?")


def test_wrong_inputs_are_told() -> None:
    with pytest.raises(CallError, match="unknown 'qestion'"):
        bound(lmpipe.Predict("question -> answer"), "a b")(qestion="?")


def test_what_a_programs_own_code_raises_comes_through() -> None:
    class Picky(One):
        def forward(self, question: str, times: int = 1) -> str:
            answer = super().forward(question)
            raise ZeroDivisionError(answer)

    with pytest.raises(ZeroDivisionError, match=r"^a$"):
        bound(Picky(), "a b")("?")


# --- binding


@every
def test_the_state_is_what_was_bound(program: Any) -> None:
    state = ensemble_state(
        states(program, " ".join(f"w{n}" for n in range(12))), reduce="per_field"
    )
    voting = program.bind(state)
    assert voting.state() == state
    assert voting.bind(voting.state()).state() == state
    assert voting.bind(ProgramState.from_bytes(state.to_bytes())).state() == state
    assert list(voting.predictors()) == list(state.predictors)


@every
def test_a_plain_state_gives_back_a_plain_program(program: Any) -> None:
    (plain,) = states(program, "plain")
    back = bound(program, "a b").bind(plain)
    assert type(back) is type(program)
    assert back.state() == plain
    assert list(back.predictors()) == list(program.predictors())
    assert text(back(question="?")) == "plain"


@every
def test_it_is_an_instance_of_the_programs_class_made_once(program: Any) -> None:
    voting = bound(program, "a b")
    assert isinstance(voting, type(program))
    assert type(voting) is type(bound(program, "c d"))
    assert inspect.signature(voting.forward) == inspect.signature(program.forward)
    assert source_hash(voting) == source_hash(program)


def test_the_declared_program_stays_as_it_is() -> None:
    program = One()
    before = program.state()
    bound(program, "a b")
    assert (program.state(), type(program)) == (before, One)


def test_attributes_are_the_first_members() -> None:
    voting = bound(One(), "a b")
    assert voting.ask.state()["self"].instruction == "a"


def test_a_subclass_votes_with_its_own_forward() -> None:
    class Twice(One):
        def forward(self, question: str, times: int = 2) -> str:
            return super().forward(question, times)

    assert bound(One(), "a b b")("?") == "b"
    assert bound(Twice(), "a b b")("?") == "bb"


@dataclasses.dataclass(frozen=True)
class Frozen(lmpipe.Module):
    notes: list[str]
    ask: Any = dataclasses.field(default_factory=lambda: lmpipe.Predict("question -> answer"))

    def forward(self, question: str) -> str:
        return str(self.ask(question=question).answer)


def test_a_program_may_be_a_frozen_dataclass_without_a_hash() -> None:
    voting = bound(Frozen(["x"]), "a b b")
    assert voting("?") == "b"
    assert voting.calls_per_run() == 4


def test_a_state_that_does_not_fit_is_told_by_member() -> None:
    other = lmpipe.Predict("question -> answer: int").state()
    good = lmpipe.Predict("question -> answer").state()
    with pytest.raises(ArtifactError) as raised:
        lmpipe.Predict("question -> answer").bind(ensemble_state([good, other]))
    assert "members[1].self: learned for another signature" in str(raised.value)
    assert "members[0]" not in str(raised.value)
    with pytest.raises(ArtifactError, match=r"members\[0\]\.ask: in the program, not in"):
        One().bind(ensemble_state([good]))


def test_an_unknown_way_to_reduce_is_told_with_those_there_are() -> None:
    with pytest.raises(ArtifactError, match=r"'coin'.*majority, per_field"):
        bound(One(), "a b", "coin")


# --- as a part of other programs


class Outer(lmpipe.Module):
    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.last = lmpipe.Predict("question -> answer", instruction="last")

    def forward(self, question: str) -> Any:
        return text(self.inner(question=question)), self.last(question=question).answer


@every
def test_an_ensemble_as_a_step_is_found_bound_and_runs(program: Any) -> None:
    outer = Outer(bound(program, "a b b"))
    assert outer("?") == ("b", "last")
    again = outer.bind(outer.state())
    assert again("?") == ("b", "last")
    assert again.state() == outer.state()
    assert [path.partition("]")[0] for path in outer.predictors()] == [
        "inner.members[0",
        "inner.members[1",
        "last",
    ]
    changed = outer.bind(outer.state().map(instruction="new"))
    assert changed("?") == ("new", "new")
    assert outer.calls_per_run() == 2 * program.calls_per_run() + 2


def test_an_outer_program_with_an_ensemble_inside_can_be_one_itself() -> None:
    outer = Outer(bound(One(), "a b b"))
    first = outer.state()
    second = first.map(instruction="x")
    voting = outer.bind(ensemble_state([second, first, first]))
    assert voting("?") == ("b", "last")
    assert "members[0].inner.members[1].ask" in voting.predictors()
    assert [item.hash for item in member_states(voting.state())] == [
        second.hash,
        first.hash,
        first.hash,
    ]


def test_evaluate_runs_it() -> None:
    rows = [lmpipe.Example(question=n, answer="b").with_inputs("question") for n in "123"]
    metric = lmpipe.metrics.exact_match("answer")
    evaluation = lmpipe.evaluate(bound(lmpipe.Predict("question -> answer"), "a b b"), rows, metric)
    assert (evaluation.score, evaluation.calls) == (1.0, 6)
    assert list(evaluation.spend.by_predictor) == ["members[0].self", "members[1].self"]
