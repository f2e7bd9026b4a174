"""Predictors that a program never reaches, and those that only seem so."""

from __future__ import annotations

from typing import Any

import pytest

import lmpipe
from lmpipe.compiling.program_check.code_problems import code_problems


class Base(lmpipe.Module):
    def __init__(self) -> None:
        self.first = lmpipe.Predict("question -> answer")
        self.second = lmpipe.Predict("question -> answer")


class OnlyFirst(Base):
    def forward(self, question: str) -> Any:
        return self.first(question=question)


class ByList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.steps = [self.first, self.second]

    def forward(self, question: str) -> Any:
        return [step(question=question) for step in self.steps]


class ByFunction(Base):
    def __init__(self) -> None:
        super().__init__()
        self.run = lambda question: self.second(question=question)

    def forward(self, question: str) -> Any:
        return self.first(question=question), self.run(question)


class Inside(lmpipe.Module):
    def __init__(self) -> None:
        self.parts = {"a": OnlyFirst(), "b": [ByList()]}
        self.unused = [OnlyFirst()]

    def forward(self, question: str) -> Any:
        return self.parts["a"](question=question)


class Voting(lmpipe.Module):
    def __init__(self) -> None:
        self.vote = lmpipe.modules.Ensemble([OnlyFirst(), OnlyFirst()])

    def forward(self, question: str) -> Any:
        return self.vote(question=question)


@pytest.mark.parametrize(
    ("program", "places"),
    [
        (OnlyFirst(), ["second"]),
        (ByList(), []),
        (ByFunction(), []),
        (Inside(), ["parts[a].second", "unused[0].first", "unused[0].second"]),
        (Voting(), ["vote.members[0].second", "vote.members[1].second"]),
        (lmpipe.Predict("a -> b"), []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, lmpipe.Module) else "",
)
def test_predictors_that_are_never_reached(program: lmpipe.Module, places: list[str]) -> None:
    problems = code_problems(program)
    assert [item.place for item in problems if item.kind == "unreached"] == places


def test_a_call_by_position_is_a_problem() -> None:
    class ByPosition(Base):
        def forward(self, question: str) -> Any:
            return self.first(question), self.second(question=question)

    (problem,) = code_problems(ByPosition())
    assert str(problem) == "first: self.first(…) is called without names: give inputs by name"


class Agents(lmpipe.Module):
    """Calls modules that have a signature of their own, each with a wrong name."""

    def __init__(self) -> None:
        self.agent = lmpipe.ReAct("question -> answer", [])
        self.coder = lmpipe.CodeAct("question -> answer", [])
        self.best = lmpipe.BestOfN(
            lmpipe.Predict("question -> answer"), n=2, reward=lambda inputs, prediction: 1
        )

    async def forward(self, question: str) -> Any:
        first = await self.agent.acall(query=question)
        return first.answer, self.coder(query=question), self.best(query=question)


def test_wrong_calls_of_agents_and_attempts_are_problems() -> None:
    said = [str(item) for item in code_problems(Agents()) if item.kind == "call"]
    for name in ("agent", "coder", "best"):
        assert [text for text in said if text.startswith(f"{name}: self.{name}(…)")] == [
            f"{name}: self.{name}(…) is called {how}; its signature is Signature(question: str) -> "
            "(answer: str)"
            for how in ("without 'question'", "with 'query', which is no input")
        ]


@lmpipe.predict
def shout(text: str) -> str:
    """Shout the text."""
    raise NotImplementedError


def test_a_typed_function_may_be_called_by_position() -> None:
    class Program(lmpipe.Module):
        def __init__(self) -> None:
            self.shout = shout
            self.best = lmpipe.BestOfN(shout, n=2, reward=lambda inputs, prediction: 1)

        def forward(self, text: str) -> str:
            return self.shout(text) + self.best(text)

    assert code_problems(Program()) == []
