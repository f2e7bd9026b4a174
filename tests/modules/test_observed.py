"""What listeners are told of programs, predictors and layouts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import OutputError
from lmpipe.lm.events import (
    AnyEvent,
    CheckFailed,
    LayoutEnded,
    LMEnded,
    LMStarted,
    PredictorEnded,
    PredictorStarted,
    ProgramEnded,
    ProgramStarted,
)
from lmpipe.lm.runtime import Runtime
from lmpipe.modules import Ensemble
from lmpipe.settings import using


class Ask(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: int = lmpipe.Output()


class Inner(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = lmpipe.Predict(Ask)

    def forward(self, question: str) -> Ask:
        return self.ask(question=question)


class Outer(lmpipe.Module):
    def __init__(self) -> None:
        self.steps = [Inner(), Inner()]

    def forward(self, question: str) -> int:
        return sum(step(question).answer for step in self.steps)


@lmpipe.predict
def double(number: int) -> int:
    """Double the number."""
    raise NotImplementedError


@pytest.fixture(autouse=True)
def _five() -> Iterator[None]:
    lm = lmpipe.ScriptedLM(
        lambda request: "5" if "number" in request.messages[-1].text else "## answer\n5"
    )
    with using(lm=lm, runtime=Runtime()):
        yield


def observed(call: Any) -> list[AnyEvent]:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        call()
    return events


def tree(events: list[AnyEvent]) -> list[str]:
    """The calls that started, each with the path of names to it."""
    names: dict[int, str] = {}
    for event in events:
        if event.id in names:
            continue
        name = getattr(event, "program", "") or getattr(event, "predictor", "")
        around = names[event.parent] + " > " if event.parent is not None else ""
        names[event.id] = f"{around}{event.kind.split()[0]} {name}"
    return list(names.values())


USE = ["layout {0}", "lm {0}", "layout {0}"]


def uses(around: str, path: str) -> list[str]:
    return [f"{around} > {step.format(path)}" for step in USE]


def test_each_call_has_the_call_around_as_its_parent() -> None:
    root = "program Outer"
    expected = [root]
    for number in (0, 1):
        inner = f"{root} > program Inner"
        use = f"{inner} > predictor steps[{number}].ask"
        expected += [inner, use, *uses(use, f"steps[{number}].ask")]
    assert tree(observed(lambda: Outer()(question="x"))) == expected


def test_a_coroutine_is_told_like_a_plain_call() -> None:
    plain = tree(observed(lambda: Outer()(question="x")))
    assert tree(observed(lambda: asyncio.run(Outer().acall(question="x")))) == plain


def test_a_stream_is_told_like_a_plain_call() -> None:
    plain = tree(observed(lambda: Outer()(question="x")))
    assert tree(observed(lambda: Outer().stream(question="x").result)) == plain


def test_a_bound_program_names_its_predictors_alike() -> None:
    program = Outer()
    plain = tree(observed(lambda: program(question="x")))
    assert tree(observed(lambda: program.bind(program.state())(question="x"))) == plain


def test_a_program_is_told_with_inputs_by_name_and_its_result() -> None:
    events = observed(lambda: Outer()("x"))
    started, ended = events[0], events[-1]
    assert isinstance(started, ProgramStarted)
    assert dict(started.inputs) == {"question": "x"}
    assert isinstance(ended, ProgramEnded)
    assert ended.result == 10


def test_a_predictor_alone_has_the_name_of_its_signature() -> None:
    events = observed(lambda: lmpipe.Predict(Ask)(question="x"))
    assert tree(events) == ["predictor Ask", *uses("predictor Ask", "Ask")]
    ended = events[-1]
    assert isinstance(ended, PredictorEnded)
    assert ended.result is not None
    assert ended.result.answer == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "call",
    [lambda: double(2), lambda: asyncio.run(double.acall(2))],
    ids=["plain", "coroutine"],
)
def test_a_typed_function_is_a_program(call: Any) -> None:
    around = "program double > predictor predict"
    assert tree(observed(call)) == ["program double", around, *uses(around, "predict")]


@pytest.mark.parametrize(
    "call",
    [lambda program: program("x"), lambda program: asyncio.run(program.acall("x"))],
    ids=["plain", "coroutine"],
)
def test_an_ensemble_has_its_members_inside(call: Any) -> None:
    calls = tree(observed(lambda: call(Ensemble([Inner(), Inner()]))))
    assert calls[0] == "program Ensemble"
    assert [name for name in calls if name.endswith("ask") and name.count(">") == 2] == [
        f"program Ensemble > program Inner > predictor members[{number}].ask" for number in (0, 1)
    ]


def test_samples_are_one_use_of_a_predictor() -> None:
    events = observed(lambda: lmpipe.Predict(Ask).samples(3, question="x"))
    started, ended = events[0], events[-1]
    assert isinstance(started, PredictorStarted)
    assert isinstance(ended, PredictorEnded)
    assert len(ended.results) == 3
    asked = [event for event in events if isinstance(event, LMStarted)]
    assert [event.parent for event in asked] == [started.id] * 3
    assert len([event for event in events if isinstance(event, LMEnded)]) == 3


def test_a_reply_that_cannot_be_read_ends_the_layout_and_the_predictor_with_an_error() -> None:
    events: list[AnyEvent] = []
    with (
        using(lm=lmpipe.ScriptedLM(lambda request: "## answer\nmany")),
        lmpipe.observing(events.append),
        pytest.raises(OutputError) as raised,
    ):
        lmpipe.Predict(Ask)(question="x")
    reads = [event for event in events if isinstance(event, LayoutEnded) and not event.messages]
    assert [event.error is not None for event in reads] == [True, True]
    ended = events[-1]
    assert isinstance(ended, PredictorEnded)
    assert (ended.error, ended.results) == (raised.value, ())


def test_the_layout_tells_the_messages_that_it_wrote() -> None:
    events = observed(lambda: lmpipe.Predict(Ask)(question="x"))
    (wrote,) = [event for event in events if isinstance(event, LayoutEnded) and event.messages]
    (asked,) = [event for event in events if isinstance(event, LMStarted)]
    assert wrote.messages == asked.request.messages


class Small(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: int = lmpipe.Output(le=9)

    @lmpipe.output_check("Give an odd number.")
    def odd(self) -> bool:
        return self.answer % 2 == 1


class Patient(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = lmpipe.Predict(Small)

    def forward(self, question: str) -> Small:
        answer = self.ask(question=question)
        lmpipe.suggest(answer.answer > 5, "Give more than 5.")
        return answer


def test_failed_checks_are_told_in_the_call_that_asks_again() -> None:
    replies = iter(["50", "4", "3", "3", "3"])
    with using(lm=lmpipe.ScriptedLM(lambda _: f"## answer\n{next(replies)}")):
        events = observed(lambda: Patient()(question="?"))
    failed = [event for event in events if isinstance(event, CheckFailed)]
    assert {event.predictor for event in failed} == {"ask"}
    assert [(event.check.feedback.partition(":")[0], event.check.outputs) for event in failed] == [
        ("answer", {}),
        ("Give an odd number.", {"answer": 4}),
        *[("Give more than 5.", {"answer": 3})] * 3,
    ]
    assert [event.check.unmet for event in failed] == [False] * 4 + [True]
    (program,) = (event.id for event in events if isinstance(event, ProgramStarted))
    predictor = next(event.id for event in events if isinstance(event, PredictorStarted))
    assert [event.id for event in failed] == [predictor] * 2 + [program] * 3
    assert {event.root for event in failed} == {program}
