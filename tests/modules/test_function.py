"""`predict`: typed functions whose calls an LM answers."""

from __future__ import annotations

import enum
import inspect

import pydantic
import pytest

import lmpipe
from lmpipe.errors import CallError, OutputError
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.settings import using


class Team(enum.Enum):
    BILLING = "billing"


class Place(pydantic.BaseModel):
    city: str


@lmpipe.predict
def route(ticket: str, urgent: bool = False) -> Team:
    """Route the ticket."""
    raise NotImplementedError


@lmpipe.predict(layout="json")
def find(text: str, *, known: list[Place]) -> list[Place]:
    """Find all places."""
    raise NotImplementedError


def test_a_call_returns_the_value() -> None:
    with using(lm=ScriptedLM(["## result\nbilling"]), runtime=Runtime()):
        assert route("My invoice") is Team.BILLING


def test_arguments_are_positional_or_by_name() -> None:
    lm = ScriptedLM(["## result\nbilling"] * 3)
    with using(lm=lm, runtime=Runtime()):
        route("x", True)
        route("x", urgent=True)
        route(urgent=True, ticket="x")
    assert len({request.key() for request in lm.requests}) == 1


def test_defaults_are_shown_to_the_lm() -> None:
    lm = ScriptedLM(["## result\nbilling"])
    with using(lm=lm, runtime=Runtime()):
        route("x")
    question = lm.requests[0].messages[-1].content
    assert question.startswith("[[ticket]]\nx\n\n[[urgent]]\nno\n\nReply with")


def test_models_and_options() -> None:
    with using(lm=ScriptedLM(['{"result": [{"city": "Bern"}]}']), runtime=Runtime()):
        assert find("Bern!", known=[]) == [Place(city="Bern")]


async def test_acall() -> None:
    with using(lm=ScriptedLM(["## result\nbilling"]), runtime=Runtime()):
        assert await route.acall("x") is Team.BILLING


def test_batch() -> None:
    with using(lm=ScriptedLM(lambda request: "## result\nbilling"), runtime=Runtime()):
        assert route.batch([{"ticket": "a"}, {"ticket": "b"}]) == [Team.BILLING] * 2


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "missing a required argument: 'ticket'"),
        (("x", True, 3), {}, "too many positional arguments"),
        (("x",), {"ticket": "y"}, "multiple values"),
        ((), {"tiket": "x"}, "tiket"),
        ((5,), {}, "must be str, got 5"),
    ],
)
def test_the_error_of_a_wrong_call_shows_the_signature(
    args: tuple[object, ...], kwargs: dict[str, object], says: str
) -> None:
    with pytest.raises(CallError) as raised:
        route(*args, **kwargs)  # type: ignore[arg-type] # pyright: ignore
    assert says in str(raised.value) or "missing" in str(raised.value)
    assert "route(ticket: str, urgent: bool) -> (result: Team)" in str(raised.value)


def test_an_unreadable_value_is_an_error() -> None:
    with (
        using(lm=ScriptedLM(["## result\nsales"] * 2), runtime=Runtime()),
        pytest.raises(OutputError, match="must be one of billing"),
    ):
        route("x")


def test_it_keeps_the_functions_name_docstring_and_parameters() -> None:
    assert route.__name__ == "route"
    assert route.__doc__ == "Route the ticket."
    assert list(inspect.signature(route).parameters) == ["ticket", "urgent"]
    assert repr(route) == "<route(ticket: str, urgent: bool) -> (result: Team)>"


def test_it_is_a_program_with_one_predictor() -> None:
    assert list(route.predictors()) == ["predict"]
    bound = route.bind(route.state().map(instruction="New."))
    assert bound.state()["predict"].instruction == "New."
    assert route.state()["predict"].instruction == "Route the ticket."
    with using(lm=ScriptedLM(["## result\nbilling"]), runtime=Runtime()):
        assert bound("x") is Team.BILLING


class Desk(lmpipe.Module):
    route = route

    def forward(self, ticket: str) -> Team:
        return self.route(ticket)


def test_a_function_on_a_module_is_found_and_bound() -> None:
    desk = Desk()
    assert list(desk.predictors()) == ["route.predict"]
    lm = ScriptedLM(["## result\nbilling"])
    with using(lm=lm, runtime=Runtime()):
        desk.bind(desk.state().map(instruction="New."))("x")
    assert lm.requests[0].messages[0].content.startswith("New.")
