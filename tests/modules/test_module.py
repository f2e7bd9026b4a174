"""Modules: finding predictors, binding states, and the ways to run a program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import ArtifactError, ConfigError, LMUnavailableError, OutputError
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules.module import run_traced
from lmpipe.settings import using
from lmpipe.state.program_state import ProgramState, Retrieval, Vectors, ensemble_state
from lmpipe.state.trace import Trace


def echo(request: Request) -> str:
    """Answers with the instruction and the last input, so that tests see who asked what."""
    instruction = request.messages[0].content.partition("\n")[0]
    return f"## answer\n{instruction} {request.messages[-1].content.rpartition(chr(10))[2]}"


@contextmanager
def echoing() -> Iterator[ScriptedLM]:
    lm = ScriptedLM(echo)
    with using(lm=lm, runtime=Runtime(retry=RetryPolicy(attempts=1))):
        yield lm


def ask(name: str = "ask") -> lmpipe.Predict[..., lmpipe.Prediction]:
    return lmpipe.Predict("question -> answer", instruction=name)


class One(lmpipe.Module):
    def __init__(self, name: str = "one") -> None:
        self.ask = ask(name)

    def forward(self, question: str) -> str:
        return str(self.ask(question=question).answer)


class AsyncOne(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = ask("async")

    async def forward(self, question: str) -> str:
        return str((await self.ask.acall(question=question)).answer)


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


class Parent(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = ask("parent")
        self.children = [Child(self), Child(self)]

    def forward(self, question: str) -> str:
        return " / ".join(child(question) for child in self.children)


class Child(lmpipe.Module):
    def __init__(self, parent: Parent) -> None:
        self.parent = parent

    def forward(self, question: str) -> str:
        return str(self.parent.ask(question=question).answer)


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


def test_predictors_are_named_by_their_path_in_declared_order() -> None:
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


def test_bind_changes_the_copy_alone() -> None:
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


def test_bind_shares_what_holds_no_predictor() -> None:
    program = Many()
    bound = program.bind(program.state())
    assert bound.data is program.data
    assert bound.name is program.name


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


def test_programs_bound_differently_run_at_the_same_time() -> None:
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


def test_a_state_of_another_program_is_refused_with_what_differs() -> None:
    with pytest.raises(ArtifactError) as raised:
        Other().bind(One().state())
    message = str(raised.value)
    assert "more: in the program, not in the state" in message
    assert "ask: learned for another signature than Signature(question: str) -> (answer: int)" in (
        message
    )
    with pytest.raises(ArtifactError, match="more: in the state, not in the program"):
        One().bind(Other().state())


# --- running


def test_a_sync_forward_is_called() -> None:
    with echoing():
        assert One()("?") == "one ?"


def test_an_async_forward_is_called_from_plain_python() -> None:
    with echoing():
        assert AsyncOne()("?") == "async ?"


async def test_either_forward_is_awaited() -> None:
    with echoing():
        assert await One().acall("?") == "one ?"
        assert await AsyncOne().acall(question="?") == "async ?"


async def test_a_sync_call_inside_a_running_loop_works() -> None:
    # As in a notebook: the caller's own loop is running, and it is not ours.
    with echoing():
        assert One()("?") == "one ?"
        assert AsyncOne()("?") == "async ?"
        assert ask("notebook")(question="?").answer == "notebook ?"
        assert One().batch([{"question": "?"}]) == ["one ?"]


async def test_many_awaited_at_once() -> None:
    with echoing():
        answers = await asyncio.gather(*(AsyncOne().acall(str(n)) for n in range(100)))
    assert answers == [f"async {n}" for n in range(100)]


class Forgetful(lmpipe.Module):
    """Forgets to await."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.ask = ask()
        self.inner = AsyncOne()
        self.sync_inner = One()

    async def forward(self, question: str) -> Any:
        match self.way:
            case "predictor":
                return self.ask(question=question)
            case "async module":
                return self.inner(question)
            case "sync module":
                return self.sync_inner(question)
            case "samples":
                return self.ask.samples(2, question=question)
            case "batch":
                return self.inner.batch([{"question": question}])


@pytest.mark.parametrize("way", ["predictor", "async module", "sync module", "samples", "batch"])
def test_a_call_without_await_in_an_async_forward_is_told(way: str) -> None:
    with echoing(), pytest.raises(ConfigError, match=r"without await.*write `await"):
        Forgetful(way)("?")


class NoForward(lmpipe.Module):
    pass


def test_a_module_without_forward_is_told() -> None:
    program: Any = NoForward()
    with pytest.raises(ConfigError, match="NoForward has no forward"):
        program()


# --- batch


@pytest.mark.parametrize("program", [One("x"), AsyncOne(), ask("x")])
def test_batch_keeps_the_order_of_rows(program: Any) -> None:
    with echoing():
        answers = program.batch({"question": str(n)} for n in range(50))
    texts = [getattr(answer, "answer", answer) for answer in answers]
    assert [text.split()[1] for text in texts] == [str(n) for n in range(50)]


def test_batch_of_nothing_is_nothing() -> None:
    assert One().batch([]) == []


class Counting(lmpipe.Module):
    def __init__(self) -> None:
        self.running = 0
        self.most = 0

    async def forward(self, n: int) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return n


def test_batch_runs_as_many_at_a_time_as_it_may() -> None:
    program = Counting()
    program.batch(({"n": n} for n in range(20)), concurrency=4)
    assert program.most == 4


def test_batch_needs_some_concurrency() -> None:
    with pytest.raises(ConfigError, match="concurrency is 0, must be 1 or more"):
        Counting().batch([{"n": 1}], concurrency=0)


class Fails(lmpipe.Module):
    def __init__(self) -> None:
        self.cancelled: list[int] = []

    async def forward(self, n: int) -> None:
        if n == 3:
            raise ValueError("three")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(n)
            raise


def test_batch_stops_at_the_first_error() -> None:
    program = Fails()
    with pytest.raises(ValueError, match="three"):
        program.batch({"n": n} for n in range(6))
    assert sorted(program.cancelled) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("text", "error"),
    [("## nothing", OutputError), (LMUnavailableError("away"), LMUnavailableError)],
)
def test_errors_come_through_every_door(text: Any, error: type[Exception]) -> None:
    def script(request: Request) -> str:
        if isinstance(text, Exception):
            raise text
        return str(text)

    with using(lm=ScriptedLM(script), runtime=Runtime(retry=RetryPolicy(attempts=1))):
        for program in (One(), AsyncOne()):
            with pytest.raises(error):
                program("?")
            with pytest.raises(error):
                program.batch([{"question": "?"}])


# --- traces, scopes and settings


async def test_a_traced_run_names_steps_by_path() -> None:
    program = Parent()
    trace = Trace()
    with echoing():
        result = await run_traced(program.bind(program.state()), {"question": "?"}, trace)
    assert result == "parent ? / parent ?"
    assert [step.predictor for step in trace.steps] == ["ask", "ask"]
    assert trace.calls == 2
    assert [step.outputs for step in trace.of("ask")] == [{"answer": "parent ?"}] * 2


async def test_runs_at_the_same_time_have_their_own_traces() -> None:
    traces = [Trace() for _ in range(20)]
    with echoing():
        await asyncio.gather(
            *(run_traced(One(), {"question": str(n)}, trace) for n, trace in enumerate(traces)),
            *(
                run_traced(AsyncOne(), {"question": str(n)}, trace)
                for n, trace in enumerate(traces)
            ),
        )
    for number, trace in enumerate(traces):
        assert [step.inputs for step in trace.steps] == [{"question": str(number)}] * 2


async def test_settings_reach_into_threads_and_tasks() -> None:
    outer, inner = ScriptedLM(echo, name="outer"), ScriptedLM(echo, name="inner")
    with using(lm=outer, runtime=Runtime()):
        with using(lm=inner):
            await One().acall("?")
            await AsyncOne().acall("?")
            One().batch([{"question": "!"}])
        await One().acall("?")
    assert (len(outer.requests), len(inner.requests)) == (1, 3)


def test_a_scope_ends_with_its_block() -> None:
    trace = Trace()
    with echoing():
        with scope(trace=trace):
            One()("?")
        One()("?")
    assert len(trace.steps) == 1


def test_calls_per_run() -> None:
    class Set(One):
        max_calls = 9

    assert One().calls_per_run() == 2
    assert Many().calls_per_run() == 2 * len(MANY)
    assert Set().calls_per_run() == 9
    assert lmpipe.Predict("a -> b", retries=4).calls_per_run() == 5


def test_calls_of_an_embedder_are_counted_whatever_a_class_says() -> None:
    class Set(Many):
        max_calls = 9

    def embedding(program: Any, path: str) -> Any:
        state = program.state()
        vectors = Vectors(embedder="a/b", dimension=1, data="")
        retrieval = Retrieval(pool=(), k=1, vectors=vectors)
        return program.bind(state.update({path: state[path].replace(retrieval=retrieval)}))

    one = embedding(Many(), MANY[0])
    assert (one.embeddings_per_run(), one.calls_per_run()) == (1, 2 * len(MANY) + 1)
    # Each of its calls may be the first of a use, which embeds.
    assert embedding(Set(), MANY[0]).calls_per_run() == 9 + 9
    assert Set().embeddings_per_run() == 0
    several = ensemble_state([one.state(), Many().state(), embedding(Many(), MANY[1]).state()])
    assert Many().bind(several).embeddings_per_run() == 2


def test_a_nested_module_answers_for_its_own_calls() -> None:
    class Loop(lmpipe.Module):
        max_calls = 7

        def __init__(self) -> None:
            self.step = lmpipe.Predict("a -> b")

    class Outer(lmpipe.Module):
        def __init__(self) -> None:
            self.loops = [Loop(), Loop()]
            self.last = lmpipe.Predict("b -> c", retries=0)

    assert Outer().calls_per_run() == 7 + 7 + 1
