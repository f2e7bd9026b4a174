"""Multi-hop questions with checks of the queries: the case study of DSPy Assertions.

    lmpipe compile programs/multi_hop_checks.py

Small LMs like to search for the same thing twice, or for names that nothing mentions. Two
suggestions of the program send such a query back with a remark (Singhvi et al. 2023,
arXiv 2312.13382, section 5); a run that meets neither goes on. The report counts them, and what was
mended becomes demonstrations.
"""

from __future__ import annotations

import re

import lmpipe
from programs import multi_hop
from programs.multi_hop import HOPS, AnswerFromNotes, TakeNote, WriteQuery
from programs.world_data import PASSAGES

_NAME = re.compile(r"[A-Z]\w+")


class CheckedHops(lmpipe.Module):
    """`MultiHop` whose queries are new, and name only what is known."""

    max_backtracks = 2

    def __init__(self) -> None:
        self.retrieve = lmpipe.Retrieve(PASSAGES, k=4)
        self.query = lmpipe.Predict(WriteQuery)
        self.note = lmpipe.Predict(TakeNote)
        self.answer = lmpipe.Predict(AnswerFromNotes)

    async def forward(self, question: str) -> AnswerFromNotes:
        notes: list[str] = []
        queries: list[str] = []
        for _ in range(HOPS):
            asked = await self.query.acall(question=question, notes=notes)
            lmpipe.suggest(
                asked.query not in queries,
                "This was searched for already. Search for another name of the notes.",
                of=asked,
            )
            lmpipe.suggest(
                not unknown_names(asked.query, [question, *notes]),
                "Use only names that the question or the notes mention.",
                of=asked,
            )
            passages = await self.retrieve.acall(asked.query)
            noted = await self.note.acall(question=question, notes=notes, passages=passages)
            queries, notes = [*queries, asked.query], [*notes, noted.note]
        return await self.answer.acall(notes=notes, question=question)


def unknown_names(query: str, known: list[str]) -> set[str]:
    """The names in a query that no text mentions."""
    mentioned = set(_NAME.findall(" ".join(known)))
    return {name for name in _NAME.findall(query) if name not in mentioned}


recipe = multi_hop.hops_bootstrap.replace(program=CheckedHops(), name="multi-hop-checks")
