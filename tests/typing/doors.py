"""The types that checkers must infer from signatures of all three forms. Checked, never run."""

from __future__ import annotations

import datetime
import enum
from typing import Any, Literal, assert_type

import pydantic

import lmpipe


class Team(enum.Enum):
    BILLING = "billing"


class Place(pydantic.BaseModel):
    city: str


class Route(lmpipe.Signature):
    """Route the ticket."""

    ticket: str = lmpipe.Input(desc="what the customer wrote")
    place: Place | None = lmpipe.Input(default=None)
    tags: list[str] = lmpipe.Input(default_factory=list)
    team: Team = lmpipe.Output(desc="who answers")
    mood: Literal["good", "bad"] = lmpipe.Output()
    urgency: int = lmpipe.Output(ge=0, le=3)
    due: datetime.date | None = lmpipe.Output()
    by_shop: dict[str, list[Place]] = lmpipe.Output()


@lmpipe.predict
def route(ticket: str, urgent: bool = False) -> Team:
    """Route the ticket."""
    raise NotImplementedError


@lmpipe.predict(layout="plain", constrained=True)
def count(text: str, *, words: list[str]) -> dict[str, int]:
    """Count the words."""
    raise NotImplementedError


# --- values from text


def values() -> None:
    assert_type(lmpipe.parse_value("5", int), int)
    assert_type(lmpipe.parse_value("1, 2", list[int], strict=True), list[int])
    assert_type(lmpipe.ParsedValue.read("5", Place).value, Place)
    assert_type(lmpipe.ParsedValue.read("5", Place).coercions, tuple[str, ...])


# --- the class


def signature_class() -> None:
    predictor = lmpipe.Predict(Route)
    result = predictor(ticket="x")
    assert_type(result, Route)
    assert_type(result.ticket, str)
    assert_type(result.place, Place | None)
    assert_type(result.team, Team)
    assert_type(result.mood, Literal["good", "bad"])
    assert_type(result.urgency, int)
    assert_type(result.due, datetime.date | None)
    assert_type(result.by_shop, dict[str, list[Place]])
    predictor(ticket="x", place=Place(city="Bern"), tags=["a"])


async def signature_class_awaited() -> None:
    result = await lmpipe.Predict(Route, layout="json", temperature=0.5).acall(ticket="x")
    assert_type(result, Route)


def many_results() -> None:
    predictor = lmpipe.Predict(Route)
    assert_type(predictor.batch([{"ticket": "x"}], concurrency=8), list[Route])
    assert_type(predictor.samples(3, ticket="x"), list[Route])


async def many_results_awaited() -> None:
    assert_type(await lmpipe.Predict(Route).asamples(3, ticket="x", tags=["a"]), list[Route])


def reasoning() -> None:
    predictor = lmpipe.ChainOfThought(Route)
    result = predictor(ticket="x")
    assert_type(result, Route)
    assert_type(result.reasoning, str)
    assert_type(result.team, Team)
    assert_type(predictor.samples(2, ticket="x"), list[Route])


# --- the string


def signature_string() -> None:
    predictor = lmpipe.Predict("question -> answer: int, sure: bool")
    result = predictor(question="x")
    assert_type(result, lmpipe.Prediction)
    assert_type(result.answer, Any)
    thoughtful = lmpipe.ChainOfThought("question -> answer")(question="x")
    assert_type(thoughtful.reasoning, str)
    assert_type(thoughtful.answer, Any)


# --- the function


def typed_function() -> None:
    assert_type(route("x"), Team)
    assert_type(route("x", True), Team)
    assert_type(route(ticket="x", urgent=True), Team)
    assert_type(count("x", words=["a"]), dict[str, int])
    assert_type(route.batch([{"ticket": "x"}]), list[Team])


async def typed_function_awaited() -> None:
    assert_type(await route.acall("x", urgent=True), Team)
    assert_type(await count.acall("x", words=[]), dict[str, int])


# --- states


def bind_keeps_the_type() -> None:
    predictor = lmpipe.Predict(Route)
    bound = predictor.bind(predictor.state())
    assert_type(bound(ticket="x"), Route)
    thoughtful = lmpipe.ChainOfThought(Route)
    assert_type(thoughtful.bind(thoughtful.state())(ticket="x").reasoning, str)
    assert_type(route.bind(route.state())("x"), Team)
    assert_type(predictor.state().map(layout="plain"), lmpipe.ProgramState)
    assert_type(predictor.state()["self"], lmpipe.PredictorState)
