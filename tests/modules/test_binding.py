"""Binding: finding predictors, running with another state, and counting LM calls."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from helpers.echoing import One, Parent, ask, echoing

import lmpipe
from lmpipe.errors import ArtifactError, CallError, ConfigError
from lmpipe.state.program_state import ProgramState, Retrieval, Vectors, ensemble_state


class Many(lmpipe.Module):
    """Predictors wherever people put them."""

    def __init__(self) -> None:
        self.name = "no predictor"
        self.first = ask("first")
        self.inner = One("inner")
        self.steps = [ask("s0"), {"deep": (ask("s1"), One("s2"))}]
        self.by_kind = {"a": ask("a"), 7: ask("seven")}
        self.again = self.first
        self.data = [1, 2, 3]

    def forward(self, question: str) -> str:
        return str(self.first(question=question).answer)


MANY = [
    "first",
    "inner.ask",
    "steps[0]",
    "steps[1][deep][0]",
    "steps[1][deep][1].ask",
    "by_kind[a]",
    "by_kind[7]",
]


class OnTheClass(lmpipe.Module):
    shared = ask("shared")

    def forward(self, question: str) -> str:
        return str(self.shared(question=question).answer)


def renamed(program: lmpipe.Module, **instructions: str) -> ProgramState:
    state = program.state()
    return state.update(
        {path: state[path].replace(instruction=text) for path, text in instructions.items()}
    )


# --- finding predictors


def test_predictors_are_named_by_path_in_declared_order() -> None:
    assert list(Many().predictors()) == MANY


def test_a_predictor_by_itself_is_a_program() -> None:
    assert list(ask().predictors()) == ["self"]


def test_a_shared_predictor_has_one_name() -> None:
    many = Many()
    assert many.predictors()["first"] is many.again
    assert "again" not in many.predictors()


def test_modules_may_refer_to_each_other() -> None:
    assert list(Parent().predictors()) == ["ask"]


def test_predictors_of_the_class_are_found() -> None:
    assert list(OnTheClass().predictors()) == ["shared"]


def test_two_predictors_of_one_path_are_refused() -> None:
    program = Many()
    program.by_kind = {7: ask(), "7": ask()}  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"two predictors at 'by_kind\[7\]'"):
        program.predictors()


def test_the_state_is_what_was_declared() -> None:
    state = Many().state()
    assert list(state.predictors) == MANY
    assert state["steps[0]"].instruction == "s0"
    assert state == Many().state()


# --- binding


def test_bind_does_not_change_the_program() -> None:
    program = Many()
    before = program.state()
    bound = program.bind(renamed(program, **{"steps[1][deep][1].ask": "new"}))
    assert bound.state()["steps[1][deep][1].ask"].instruction == "new"
    assert program.state() == before
    assert type(bound) is Many


def test_a_bound_program_runs_with_its_state() -> None:
    program = One()
    bound = program.bind(renamed(program, ask="new"))
    with echoing():
        assert (program("?"), bound("?")) == ("one ?", "new ?")


def test_bind_shares_data_without_predictors() -> None:
    program = Many()
    bound = program.bind(program.state())
    assert bound.data is program.data
    assert bound.name is program.name


class Helper(lmpipe.Module):
    """Has no predictors."""

    def forward(self, question: str) -> str:
        return question


class WithHelpers(lmpipe.Module):
    on_the_class = Helper()

    def __init__(self) -> None:
        self.helper = Helper()
        self.mixed = [Helper(), ask()]
        self.helpers = {"a": Helper()}

    def forward(self, question: str) -> str:
        return self.helper(question)


def test_bind_shares_modules_without_predictors() -> None:
    program = WithHelpers()
    bound = program.bind(program.state())
    assert bound.helper is program.helper
    assert bound.helpers is program.helpers
    assert bound.on_the_class is WithHelpers.on_the_class
    assert bound.mixed[0] is program.mixed[0]
    assert bound.mixed[1] is not program.mixed[1]


class Pair(NamedTuple):
    left: Any
    right: Any


class Containers(lmpipe.Module):
    def __init__(self) -> None:
        self.pair = Pair(ask("left"), 1)
        self.ordered = OrderedDict(a=ask("a"))
        self.steps: list[Any] = [ask("step")]
        self.same_steps = self.steps
        self.steps.append(self.steps)

    def forward(self, question: str) -> None: ...


def test_bind_keeps_the_kinds_of_containers_and_their_sharing() -> None:
    program = Containers()
    assert list(program.predictors()) == ["pair[0]", "ordered[a]", "steps[0]"]
    bound = program.bind(program.state().map(instruction="new"))
    assert (type(bound.pair), type(bound.ordered)) == (Pair, OrderedDict)
    assert bound.pair.left.state()["self"].instruction == "new"
    assert bound.same_steps is bound.steps is bound.steps[1]
    assert program.steps[0].state()["self"].instruction == "step"


@dataclasses.dataclass(frozen=True)
class Frozen(lmpipe.Module):
    ask: Any = dataclasses.field(default_factory=ask)

    def forward(self, question: str) -> str:
        return str(self.ask(question=question).answer)


def test_bind_copies_a_frozen_dataclass() -> None:
    program = Frozen()
    bound = program.bind(renamed(program, ask="new"))
    with echoing():
        assert (program("?"), bound("?")) == ("ask ?", "new ?")


def test_bind_keeps_sharing_and_cycles() -> None:
    program = Many()
    bound = program.bind(program.state())
    assert bound.again is bound.first
    assert bound.first is not program.first
    parent = Parent()
    new = parent.bind(renamed(parent, ask="new"))
    assert [child.parent is new for child in new.children] == [True, True]
    assert [child.parent is parent for child in parent.children] == [True, True]
    with echoing():
        assert new("?") == "new ? / new ?"


def test_bind_reaches_predictors_of_the_class() -> None:
    program = OnTheClass()
    bound = program.bind(renamed(program, shared="new"))
    with echoing():
        assert (program("?"), bound("?"), OnTheClass()("?")) == ("shared ?", "new ?", "shared ?")


def test_a_bound_program_can_be_bound_again() -> None:
    program = One()
    twice = program.bind(renamed(program, ask="a")).bind(renamed(program, ask="b"))
    assert twice.state()["ask"].instruction == "b"


def test_binding_its_own_state_changes_nothing() -> None:
    program = Many()
    assert program.bind(program.state()).state() == program.state()


def test_differently_bound_programs_run_at_the_same_time() -> None:
    program = One()
    bound = [program.bind(renamed(program, ask=f"b{n}")) for n in range(8)]
    answers: dict[int, set[str]] = {}
    together = threading.Barrier(len(bound))

    def run(number: int) -> None:
        together.wait(10)
        with echoing():
            answers[number] = {bound[number](str(row)) for row in range(20)}

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(bound))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: {f"b{n} {row}" for row in range(20)} for n in range(8)}


class Other(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = lmpipe.Predict("question -> answer: int")
        self.more = ask()

    def forward(self, question: str) -> None: ...


def test_the_error_of_a_foreign_state_shows_what_differs() -> None:
    with pytest.raises(ArtifactError) as raised:
        Other().bind(One().state())
    message = str(raised.value)
    assert "more: in the program, not in the state" in message
    assert "ask: learned for another signature than Signature(question: str) -> (answer: int)" in (
        message
    )
    with pytest.raises(ArtifactError, match="more: in the state, not in the program"):
        One().bind(Other().state())


def test_a_description_of_an_unknown_field_is_refused() -> None:
    program = lmpipe.Predict("question -> answer: int")
    state = program.state().map(descriptions={"answer": "a number", "reply": "a text"})
    with pytest.raises(ArtifactError, match="a description of 'reply', but"):
        program.bind(state)


def test_what_is_no_state_is_refused() -> None:
    program = One()
    wrong: list[Any] = [program.state, program.state().to_json(), "runs/one"]
    for given in wrong:
        with pytest.raises(CallError, match="bind takes a ProgramState"):
            program.bind(given)


# --- calls per run


def test_calls_per_run() -> None:
    class Set(One):
        max_calls = 9

    assert One().calls_per_run() == 2
    assert Many().calls_per_run() == 2 * len(MANY)
    assert Set().calls_per_run() == 9
    assert lmpipe.Predict("a -> b", retries=4).calls_per_run() == 5


def test_requests_to_an_embedder_are_counted_in_addition_to_max_calls() -> None:
    class Set(Many):
        max_calls = 9

    def embedding(program: Any, path: str) -> Any:
        state = program.state()
        vectors = Vectors(embedder="a/b", dimension=1, data="")
        retrieval = Retrieval(pool=(), k=1, vectors=vectors)
        return program.bind(state.update({path: state[path].replace(retrieval=retrieval)}))

    one = embedding(Many(), MANY[0])
    assert (one.embeddings_per_run(), one.calls_per_run()) == (1, 2 * len(MANY) + 1)
    # Each of the 9 LM calls may be the first of a use, which embeds.
    assert embedding(Set(), MANY[0]).calls_per_run() == 9 + 9
    assert Set().embeddings_per_run() == 0
    several = ensemble_state([one.state(), Many().state(), embedding(Many(), MANY[1]).state()])
    assert Many().bind(several).embeddings_per_run() == 2


def test_a_nested_modules_max_calls_replaces_the_count_of_its_parts() -> None:
    class Loop(lmpipe.Module):
        max_calls = 7

        def __init__(self) -> None:
            self.step = lmpipe.Predict("a -> b")

    class Outer(lmpipe.Module):
        def __init__(self) -> None:
            self.loops = [Loop(), Loop()]
            self.last = lmpipe.Predict("b -> c", retries=0)

    assert Outer().calls_per_run() == 7 + 7 + 1


@pytest.mark.parametrize("maximum", [-1, 2.5, True, "many"])
def test_max_calls_must_be_a_whole_number_of_0_or_more(maximum: Any) -> None:
    class Wrong(One):
        max_calls = maximum

    with pytest.raises(ConfigError, match=r"Wrong\(max_calls=.*\): max_calls must be"):
        Wrong().calls_per_run()
