"""A conversation about the passages: each question needs the turns before it.

    lmpipe compile programs/conversation.py

The first predictor reads the history and writes a question that stands alone, the second answers it
from the passages that a search for it finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

import lmpipe
from lmpipe.metrics import normalized_match
from programs.world_data import PASSAGES, conversations


class Turn(pydantic.BaseModel):
    """An earlier question with its answer."""

    question: str
    answer: str


class WriteStandalone(lmpipe.Signature):
    """Rewrite the last question so that it can be understood without the conversation."""

    turns: list[Turn] = lmpipe.Input(desc="the conversation so far")
    question: str = lmpipe.Input()
    standalone: str = lmpipe.Output(desc="a question that names what it is about", max_length=300)


class AnswerTurn(lmpipe.Signature):
    """Answer the question from the passages, in as few words as possible."""

    history: lmpipe.History = lmpipe.Input(default=lmpipe.History())
    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output(desc="a name, a word or a number, and nothing else", max_length=80)


class Conversation(lmpipe.Module):
    """Answer the next question of a conversation.

    A result is a turn: `history.add(result)` is the history of the next question.
    """

    def __init__(self) -> None:
        self.rewrite = lmpipe.Predict(WriteStandalone)
        self.retrieve = lmpipe.Retrieve(PASSAGES, k=3)
        self.answer = lmpipe.Predict(AnswerTurn)

    async def forward(
        self, question: str, history: lmpipe.History | Sequence[Mapping[str, Any]] = ()
    ) -> AnswerTurn:
        earlier = lmpipe.History.model_validate(history)
        turns = [Turn(question=one["question"], answer=one["answer"]) for one in earlier.turns]
        asked = await self.rewrite.acall(turns=turns, question=question)
        passages = await self.retrieve.acall(asked.standalone)
        return await self.answer.acall(history=earlier, passages=passages, question=question)


recipe = lmpipe.Recipe(
    program=Conversation(),
    train=conversations("train"),
    val=conversations("val"),
    test=conversations("test"),
    metric=normalized_match("answer"),
    optimizer=lmpipe.RandomSearch(candidates=8, demos=4, bootstrapped=2),
    name="conversation",
)
