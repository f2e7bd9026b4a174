"""Answers with citations: the ids of the passages that prove the answer.

    lmpipe compile programs/rag_citations.py

The program searches twice, for the question and for what the first passages miss, and then answers
from all passages. A citation of a passage that was not found is an output that cannot be read, so
the LM is asked again.
"""

from __future__ import annotations

from typing import Self

import pydantic

import lmpipe
from lmpipe.modules.retrieve import Retrieve
from metrics.questions import cited_answer
from programs.world_data import PASSAGES, questions


class WriteSecondQuery(lmpipe.Signature):
    """Name what has to be searched for besides these passages to answer the question."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    query: str = lmpipe.Output(desc="names to search for", max_length=120)


class AnswerWithCitations(lmpipe.Signature):
    """Answer the question from the passages, and cite the ids of those that prove the answer."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    citations: list[str] = lmpipe.Output(desc="ids of passages, such as p017", max_length=6)
    answer: str = lmpipe.Output(desc="a name, a word or a number, and nothing else", max_length=80)

    @pydantic.model_validator(mode="after")
    def _cites_what_was_found(self) -> Self:
        unknown = set(self.citations) - {passage.id for passage in self.passages}
        if unknown:
            raise ValueError(f"no passage has the id {', '.join(sorted(unknown))}")
        return self


class CitingRag(lmpipe.Module):
    """Search twice, then answer and cite."""

    def __init__(self) -> None:
        self.retrieve = Retrieve(PASSAGES, k=4)
        self.query = lmpipe.Predict(WriteSecondQuery)
        self.answer = lmpipe.Predict(AnswerWithCitations)

    async def forward(self, question: str) -> AnswerWithCitations:
        first = await self.retrieve.acall(question)
        missing = await self.query.acall(passages=first, question=question)
        second = await self.retrieve.acall(missing.query)
        found = {passage.id: passage for passage in [*first, *second]}
        return await self.answer.acall(passages=list(found.values()), question=question)


recipe = lmpipe.Recipe(
    program=CitingRag(),
    train=questions("train"),
    val=questions("val"),
    test=questions("test"),
    metric=cited_answer,
    optimizer=lmpipe.RandomSearch(candidates=8, demos=4, bootstrapped=3, threshold=0.9),
    name="rag-citations",
)
