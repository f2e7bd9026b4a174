"""What listeners are told of searches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import LmpipeError
from lmpipe.lm.events import AnyEvent, ProgramStarted, RetrievalEnded, RetrievalStarted
from lmpipe.lm.runtime import Runtime
from lmpipe.modules.retrieve import Retrieve
from lmpipe.settings import using


def find(query: str, k: int) -> list[lmpipe.Passage]:
    return [lmpipe.Passage(id="1", text=f"about {query}")][:k]


class Answer(lmpipe.Module):
    def __init__(self) -> None:
        self.find = Retrieve(find, k=2)
        self.answer = lmpipe.Predict("context: list[str], question -> answer")

    def forward(self, question: str) -> Any:
        context = [passage.text for passage in self.find(question)]
        return self.answer(context=context, question=question)


@pytest.mark.parametrize(
    "call",
    [lambda search: search("cats"), lambda search: asyncio.run(search.acall("cats"))],
    ids=["plain", "coroutine"],
)
def test_a_search_is_told_with_its_passages(call: Any) -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        found = call(Retrieve(find, k=2))
    started, ended = events
    assert isinstance(started, RetrievalStarted)
    assert (started.retriever, started.queries, started.k) == ("find", ("cats",), 2)
    assert isinstance(ended, RetrievalEnded)
    assert ended.passages == (tuple(passage.to_json() for passage in found),)


def test_a_search_is_inside_its_program() -> None:
    events: list[AnyEvent] = []
    lm = lmpipe.ScriptedLM(lambda request: "[[answer]]\nyes")
    with using(lm=lm, runtime=Runtime()), lmpipe.observing(events.append):
        Answer()("cats")
    program = next(event for event in events if isinstance(event, ProgramStarted))
    (search,) = [event for event in events if isinstance(event, RetrievalStarted)]
    assert search.parent == program.id


def test_a_search_that_fails_ends_with_its_error() -> None:
    def broken(query: str, k: int) -> Any:
        return ["not a passage", 5]

    events: list[AnyEvent] = []
    with lmpipe.observing(events.append), pytest.raises(LmpipeError) as raised:
        Retrieve(broken)("cats")
    ended = events[-1]
    assert isinstance(ended, RetrievalEnded)
    assert (ended.error, ended.passages) == (raised.value, ())
