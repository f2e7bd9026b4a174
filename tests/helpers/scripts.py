"""What a script of the small world's LM knows of a request, and a proposer that remembers."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson
from helpers.world import COLOURS

import lmpipe
from lmpipe.lm.request import Request

WRONG = {"apple": "green", "grass": "blue", "sky": "red"}

_ASKS_FOR_WORDS = re.compile(r'## words\n|the words only|\{"words"')


def instruction_of(request: Request) -> str:
    """The system turn, which opens with the instruction."""
    return request.messages[0].content


def question_of(request: Request) -> str:
    return request.messages[-1].content


def demos_of(request: Request) -> list[tuple[str, str]]:
    """The demonstrations that a request shows, inputs and outputs as they are laid out."""
    turns = [message.content for message in request.messages[1:-1]]
    return list(zip(turns[::2], turns[1::2], strict=True))


def kind_in(text: str) -> str:
    """The kind of the thing that a text speaks of."""
    return next(kind for kind in COLOURS if kind in text)


def kind_of(request: Request) -> str:
    """The kind of the thing that is asked about."""
    return kind_in(question_of(request))


def number_of(request: Request) -> int:
    """The number of the thing that is asked about: below 100 in the training examples."""
    found = re.search(r"number (\d+)", question_of(request))
    assert found is not None
    return int(found[1])


def answered(request: Request, *, right: bool) -> str:
    """A right or a wrong colour, or words where a step asks for those, in the request's layout."""
    if _ASKS_FOR_WORDS.search(instruction_of(request)):
        return laid_out(request, "words", "a thing of some colour")
    kind = kind_of(request)
    return laid_out(request, "colour", COLOURS[kind] if right else WRONG[kind])


def laid_out(request: Request, field: str, value: str) -> str:
    """One output in the layout that a request asks for."""
    layout = layout_of(request)
    if layout == "chat":
        return f"## {field}\n{value}"
    return orjson.dumps({field: value}).decode() if layout == "json" else value


def layout_of(request: Request) -> str:
    """The name of a request's layout."""
    system = instruction_of(request)
    if "\n## " in system:
        return "chat"
    return "json" if "JSON object" in system else "plain"


class ScriptedProposer:
    """A proposer, and what it was asked.

    Args:
        write: its answer from what it is shown; None is a reply that cannot be read.
    """

    def __init__(self, write: Callable[[dict[str, str]], str | None]) -> None:
        self.asked: list[dict[str, str]] = []
        self._write = write
        self.lm = lmpipe.ScriptedLM(self._answer, name="proposer")

    def _answer(self, request: Request) -> str:
        if len(request.messages) > 2:  # asked again, after a reply that could not be read
            return "?"
        assert request.constraint is not None
        (field,) = orjson.loads(request.constraint.value)["properties"]
        self.asked.append(orjson.loads(question_of(request)))
        text = self._write(self.asked[-1])
        return "?" if text is None else orjson.dumps({field: text}).decode()
