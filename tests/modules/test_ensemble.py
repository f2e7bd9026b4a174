"""Ensembles: copies of one program that run together and vote."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

import lmpipe
from lmpipe.compiling.recipe import source_hash
from lmpipe.errors import (
    ArtifactError,
    CallError,
    ConfigError,
    DataError,
    LMUnavailableError,
    OutputError,
    RecipeError,
)
from lmpipe.evaluation.evaluate import check_inputs
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules import Ensemble
from lmpipe.modules.declared import declared_program
from lmpipe.modules.module import run_traced
from lmpipe.settings import using
from lmpipe.state.program_state import ProgramState, ensemble_state, member_states
from lmpipe.state.trace import Trace


def script(request: Request) -> str:
    """Reply with the instruction; `bad` gives an unreadable reply, `down` an unavailable LM."""
    word = request.messages[0].content.split()[0]
    if word == "down":
        raise LMUnavailableError("down")
    if word == "bad":
        return ""
    reasoning = f"## reasoning\n{len(request.messages[-1].content)}\n\n"
    return (reasoning if "reasoning" in request.messages[0].content else "") + (
        f"## answer\n{word}" if "answer" in request.messages[0].content else f"## result\n{word}"
    )


@pytest.fixture(autouse=True)
def lm() -> Iterator[ScriptedLM]:
    made = ScriptedLM(script)
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
async def test_members_vote_however_the_ensemble_is_run(program: Any) -> None:
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
async def test_traces_have_the_members_order(program: Any) -> None:
    trace = Trace()
    await run_traced(bound(program, "a b c"), {"question": "?"}, trace)
    (path,) = program.predictors()
    assert [step.predictor for step in trace.steps] == [f"members[{n}].{path}" for n in range(3)]


async def test_the_order_of_traces_and_calls_does_not_depend_on_which_member_is_faster() -> None:
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


def test_equal_members_run_once_and_each_has_a_vote(lm: ScriptedLM) -> None:
    voting = bound(One(), "a b b c b")
    assert voting("?") == "b"
    assert len(lm.requests) == 3
    assert voting.calls_per_run() == 3 * One().calls_per_run()
    assert list(voting.predictors()) == [f"members[{n}].ask" for n in range(5)]


def test_max_calls_is_counted_for_each_member() -> None:
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


async def test_a_call_without_await_in_an_async_forward_is_refused() -> None:
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


def test_the_first_members_error_is_raised_if_no_reply_can_be_read() -> None:
    with pytest.raises(OutputError, match=r"^members\[0\]\.ask"):
        bound(One(), "bad bad")("?")


def test_a_failed_members_step_is_in_the_trace() -> None:
    trace = Trace()
    asyncio.run(run_traced(bound(One(), "bad b"), {"question": "?"}, trace))
    assert [bool(step.error) for step in trace.steps] == [True, False]


@every
def test_an_unavailable_lm_is_an_error_and_not_a_missing_vote(program: Any) -> None:
    with pytest.raises(LMUnavailableError):
        bound(program, "a down a")(question="?")


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(CallError, match="unknown 'qestion'"):
        bound(lmpipe.Predict("question -> answer"), "a b")(qestion="?")


def test_an_error_of_the_programs_own_code_reaches_the_caller() -> None:
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
def test_an_ensemble_bound_to_a_single_state_is_a_single_program(program: Any) -> None:
    (plain,) = states(program, "plain")
    back = bound(program, "a b").bind(plain)
    assert type(back) is type(program)
    assert back.state() == plain
    assert list(back.predictors()) == list(program.predictors())
    assert text(back(question="?")) == "plain"


@every
def test_it_owns_bound_copies_of_the_program(program: Any) -> None:
    voting = bound(program, "a b a")
    assert isinstance(voting, Ensemble)
    assert [type(member) for member in voting.members] == [type(program)] * 3
    assert voting.members[0] is voting.members[2]
    assert voting.members[0] is not program


@every
def test_it_has_the_identity_of_the_program(program: Any) -> None:
    voting = bound(program, "a b")
    assert type(declared_program(voting)) is type(declared_program(program)) is type(program)
    assert source_hash(voting) == source_hash(program)


@pytest.mark.parametrize("program", [One(), AsyncOne()])
def test_examples_are_checked_against_the_programs_inputs(program: Any) -> None:
    voting = bound(program, "a b")
    check_inputs(voting, lmpipe.Example(question="?").with_inputs("question"))
    with pytest.raises(DataError, match="the program takes"):
        check_inputs(voting, lmpipe.Example(qestion="?").with_inputs("qestion"))


def test_it_can_be_made_from_members() -> None:
    program = One()
    members = [program.bind(state) for state in states(program, "a b b")]
    voting = Ensemble(members)
    assert voting("?") == "b"
    assert voting.state() == ensemble_state(states(program, "a b b"))
    assert copy.copy(voting).members == voting.members


@pytest.mark.parametrize(
    "members", [[], [One(), AsyncOne()], [bound(One(), "a b")]], ids=["none", "mixed", "ensemble"]
)
def test_members_must_be_copies_of_one_program(members: list[Any]) -> None:
    with pytest.raises(ConfigError, match="must be copies of one program"):
        Ensemble(members)


def test_bind_does_not_change_the_program() -> None:
    program = One()
    before = program.state()
    bound(program, "a b")
    assert (program.state(), type(program)) == (before, One)


def test_other_attributes_are_the_first_members() -> None:
    voting = bound(One(), "a b")
    assert voting.ask.state()["self"].instruction == "a"
    with pytest.raises(AttributeError, match="'One' object has no attribute 'aks'"):
        _ = voting.aks


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


def test_the_error_of_a_state_that_does_not_fit_names_the_member() -> None:
    other = lmpipe.Predict("question -> answer: int").state()
    good = lmpipe.Predict("question -> answer").state()
    with pytest.raises(ArtifactError) as raised:
        lmpipe.Predict("question -> answer").bind(ensemble_state([good, other]))
    assert "members[1].self: learned for another signature" in str(raised.value)
    assert "members[0]" not in str(raised.value)
    with pytest.raises(ArtifactError, match=r"members\[0\]\.ask: in the program, not in"):
        One().bind(ensemble_state([good]))


def test_the_error_of_an_unknown_reducer_names_the_known_ones() -> None:
    with pytest.raises(ArtifactError, match=r"'coin'.*majority, per_field"):
        bound(One(), "a b", "coin")


# --- inside other programs


class Outer(lmpipe.Module):
    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.last = lmpipe.Predict("question -> answer", instruction="last")

    def forward(self, question: str) -> Any:
        return text(self.inner(question=question)), self.last(question=question).answer


@every
def test_an_ensemble_inside_a_program_is_found_bound_and_run(program: Any) -> None:
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


def test_a_program_with_an_ensemble_inside_can_be_an_ensemble_itself() -> None:
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
