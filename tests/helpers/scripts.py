"""Helpers for scripted LMs of the small world: read requests, write replies, record questions."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson
from helpers.world import COLOURS

import lmpipe
from lmpipe.lm.request import Request

WRONG = {"apple": "green", "grass": "blue", "sky": "red"}

_ASKS_FOR_WORDS = re.compile(r'- words: |the words only|- "words": ')


def instruction_of(request: Request) -> str:
    """Return the system turn, which begins with the instruction."""
    return request.messages[0].content


def question_of(request: Request) -> str:
    return request.messages[-1].content


def demos_of(request: Request) -> list[tuple[str, str]]:
    """Return the demonstrations of a request: inputs and outputs as the layout wrote them."""
    turns = [message.content for message in request.messages[1:-1] if message.role != "tool"]
    return list(zip(turns[::2], turns[1::2], strict=True))


def kind_in(text: str) -> str:
    """Return the kind of thing that a text mentions."""
    return next(kind for kind in COLOURS if kind in text)


def kind_of(request: Request) -> str:
    """Return the kind of thing that a request asks about."""
    return kind_in(question_of(request))


def number_of(request: Request) -> int:
    """Return the number of the thing that a request asks about: below 100 in training examples."""
    found = re.search(r"number (\d+)", question_of(request))
    assert found is not None
    return int(found[1])


def reply_to(request: Request, *, right: bool) -> str:
    """Reply in the request's layout: a right or wrong colour, or words for a step that asks so."""
    if "Copy from it the values" in instruction_of(request):  # the second of two steps
        return orjson.dumps({"colour": question_of(request)}).decode()
    if _ASKS_FOR_WORDS.search(instruction_of(request)):
        return in_layout(request, "words", "a thing of some colour")
    kind = kind_of(request)
    return in_layout(request, "colour", COLOURS[kind] if right else WRONG[kind])


def in_layout(request: Request, field: str, value: str) -> str:
    """Write one output in the layout that a request asks for."""
    match layout_of(request):
        case "chat":
            return f"[[{field}]]\n{value}"
        case "xml":
            return f"<{field}>\n{value}\n</{field}>"
        case "json" | "tools":
            return orjson.dumps({field: value}).decode()
    return value


def layout_of(request: Request) -> str:
    """Return the name of a request's layout."""
    system = instruction_of(request)
    if request.tools:
        return "tools"
    if "[[" in system:
        return "chat"
    if "<" in system:
        return "xml"
    return "json" if "JSON object" in system else "plain"


class ScriptedProposer:
    """A scripted proposer that records its questions.

    Args:
        write: makes the answer from the inputs; None makes a reply that cannot be parsed.
    """

    def __init__(self, write: Callable[[dict[str, str]], str | None]) -> None:
        self.asked: list[dict[str, str]] = []
        self._write = write
        self.lm = lmpipe.ScriptedLM(self._answer, name="proposer")

    def _answer(self, request: Request) -> str:
        if len(request.messages) > 2:  # a retry after a reply that could not be parsed
            return "?"
        assert request.constraint is not None
        (field,) = orjson.loads(request.constraint.value)["properties"]
        self.asked.append(orjson.loads(question_of(request)))
        text = self._write(self.asked[-1])
        return "?" if text is None else orjson.dumps({field: text}).decode()
