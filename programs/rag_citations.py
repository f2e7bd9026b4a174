"""Answers with citations: the words of the passages that prove the answer.

    lmpipe compile programs/rag_citations.py

The program searches twice, for the question and for what the first passages miss, and then answers
from all passages. A citation is the id of a passage with words of it. If these are not in the
passage, the reply cannot be read, and the LM is asked again (`lmpipe.Cited`).
"""

from __future__ import annotations

import lmpipe
from metrics.questions import cited_answer
from programs.world_data import PASSAGES, questions


class WriteSecondQuery(lmpipe.Signature):
    """Write what to search for next: the name of the thing about which a fact is missing."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    query: str = lmpipe.Output(desc="a name from the passages", max_length=120)


class AnswerWithCitations(lmpipe.Cited):
    """Answer the question from the passages, and cite the words that prove the answer."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    citations: list[lmpipe.Citation] = lmpipe.Output(max_length=6)
    answer: str = lmpipe.Output(desc="a name, a word or a number, and nothing else", max_length=80)


class CitingRag(lmpipe.Module):
    """Search twice, then answer and cite."""

    def __init__(self) -> None:
        self.retrieve = lmpipe.Retrieve(PASSAGES, k=4)
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
