"""A DSPy program streams its outputs while the LM writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import dspy
import pytest

import lmpipe
from lmpipe.integrations.dspy import from_dspy
from lmpipe.lm.stream_events import Partial


class Triage(dspy.Signature):
    """Sort the ticket."""

    ticket: str = dspy.InputField()
    words: list[str] = dspy.OutputField()
    team: Literal["billing", "shipping"] = dspy.OutputField()


class Desk(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.think = dspy.ChainOfThought("ticket -> note")
        self.sort = [dspy.Predict(Triage)]

    def forward(self, ticket: str) -> Any:
        return self.sort[0](ticket=self.think(ticket=ticket).note)


class AsyncDesk(Desk):
    async def aforward(self, ticket: str) -> Any:
        note = (await self.think.acall(ticket=ticket)).note
        return await self.sort[0].acall(ticket=note)


CHAT = {
    "note": "[[ ## reasoning ## ]]\nI see.\n\n[[ ## note ## ]]\nIt is late.\n\n"
    "[[ ## completed ## ]]",
    "team": '[[ ## words ## ]]\n["a", "b"]\n\n[[ ## team ## ]]\nshipping\n\n[[ ## completed ## ]]',
}
JSON = {
    "note": '{"reasoning": "I see.", "note": "It is late."}',
    "team": '{"words": ["a", "b"], "team": "shipping"}',
}
XML = {
    "note": "<reasoning>\nI see.\n</reasoning>\n<note>\nIt is late.\n</note>",
    "team": '<words>\n["a", "b"]\n</words>\n<team>\nshipping\n</team>',
}
FORMS: dict[str, tuple[Any, dict[str, str]]] = {
    "chat": (dspy.ChatAdapter, CHAT),
    "json": (dspy.JSONAdapter, JSON),
    "xml": (dspy.XMLAdapter, XML),
}


def scripted(replies: dict[str, str]) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(
        lambda request: replies["team" if "`team`" in request.messages[0].text else "note"]
    )


def streamed(module: Any, form: str) -> tuple[list[Partial], Any]:
    adapter, replies = FORMS[form]
    with dspy.context(adapter=adapter()), lmpipe.using(lm=scripted(replies)):
        stream = from_dspy(module).stream(ticket="Where is it?")
        return list(stream), stream.result


def texts(pieces: Iterable[Partial], field: str) -> list[str]:
    return [piece.text for piece in pieces if piece.field == field]


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("kind", [Desk, AsyncDesk])
def test_outputs_arrive_as_they_are_written(kind: Any, form: str) -> None:
    pieces, result = streamed(kind(), form)
    notes = texts(pieces, "note")
    assert len(notes) > 2
    assert all("It is late.".startswith(text) for text in notes)
    assert notes[-1] == "It is late."
    done = {(piece.predictor, piece.field): piece.value for piece in pieces if piece.done}
    assert done == {
        ("think.predict", "reasoning"): "I see.",
        ("think.predict", "note"): "It is late.",
        ("sort[0]", "words"): ["a", "b"],
        ("sort[0]", "team"): "shipping",
    }
    assert result.team == "shipping"


def test_a_part_of_a_header_is_not_told_as_text() -> None:
    pieces, _ = streamed(Desk(), "chat")
    assert not [piece for piece in pieces if "[[" in piece.text]


def test_an_output_is_done_when_the_next_one_begins() -> None:
    pieces, _ = streamed(Desk(), "chat")
    order = [(piece.field, piece.done) for piece in pieces]
    assert order.index(("reasoning", True)) < order.index(("note", False))


def test_the_reply_for_json_is_streamed_as_another_attempt() -> None:
    def reply(request: Any) -> str:
        is_json = "JSON object" in request.messages[-1].text
        return '{"answer": "five", "number": 5}' if is_json else "[[ ## answer ## ]]\nfi"

    program = from_dspy(dspy.Predict("question -> answer, number: int"))
    with lmpipe.using(lm=lmpipe.ScriptedLM(reply)):
        stream = program.stream(question="2+3?")
        events = list(stream.events())
    partials = [event for event in events if isinstance(event, Partial)]
    assert [event.kind for event in events].count("retrying") == 1
    assert {piece.attempt for piece in partials} == {0, 1}
    done = {piece.field: (piece.value, piece.attempt) for piece in partials if piece.done}
    assert done == {"answer": ("five", 1), "number": (5, 1)}


async def test_a_stream_is_read_from_a_coroutine() -> None:
    with lmpipe.using(lm=scripted(CHAT)):
        stream = from_dspy(AsyncDesk()).stream(ticket="Where is it?")
        pieces = [piece async for piece in stream]
    assert texts(pieces, "team")[-1] == "shipping"


def test_a_streamed_run_makes_the_same_calls() -> None:
    lm = scripted(CHAT)
    with lmpipe.using(lm=lm):
        program = from_dspy(Desk())
        program(ticket="Where is it?")
        alone = [request.messages for request in lm.requests]
        lm.requests.clear()
        list(program.stream(ticket="Where is it?"))
    assert [request.messages for request in lm.requests] == alone
