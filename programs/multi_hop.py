"""Multi-hop questions over 500 passages: the programs of the DSPy paper's second case study.

    lmpipe compile programs/multi_hop.py                    # several hops, condensed to notes
    lmpipe compile programs/multi_hop.py:rag_bootstrap
    lmpipe compile programs/multi_hop.py:react_bootstrap

The programs are those of arXiv 2310.03714, section 7: vanilla, CoT-RAG, ReAct and multihop. The
passages are about an invented world (`programs/worlds`), so that no LM knows the answers by heart;
each of the 300 questions needs two to four of them.
"""

from __future__ import annotations

from typing import Any

import lmpipe
from lmpipe.optimize import Optimizer
from metrics.questions import proven_answer
from programs.world_data import PASSAGES, VERSION, questions

HOPS = 3
_ANSWER = "a name, a word or a number, and nothing else"


class AnswerQuestion(lmpipe.Signature):
    """Answer the question in as few words as possible."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output(desc=_ANSWER, max_length=80)


class AnswerFromPassages(lmpipe.Signature):
    """Answer the question from the passages, in as few words as possible."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output(desc=_ANSWER, max_length=80)


class WriteQuery(lmpipe.Signature):
    """Write what to search for next: the name of the thing about which a fact is missing."""

    question: str = lmpipe.Input()
    notes: list[str] = lmpipe.Input(desc="what is known so far")
    query: str = lmpipe.Output(desc="a name from the question or the notes", max_length=120)


class TakeNote(lmpipe.Signature):
    """State the facts of the passages that help to answer the question and are not known yet."""

    question: str = lmpipe.Input()
    notes: list[str] = lmpipe.Input(desc="what is known so far")
    passages: list[lmpipe.Passage] = lmpipe.Input()
    note: str = lmpipe.Output(desc="one or two short sentences", max_length=240)


class AnswerFromNotes(lmpipe.Signature):
    """Answer the question from the notes, in as few words as possible."""

    notes: list[str] = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output(desc=_ANSWER, max_length=80)


class Rag(lmpipe.Module):
    """Search once for the question itself, and answer from what is found."""

    def __init__(self) -> None:
        self.retrieve = lmpipe.Retrieve(PASSAGES, k=5)
        self.answer = lmpipe.ChainOfThought(AnswerFromPassages)

    async def forward(self, question: str) -> AnswerFromPassages:
        passages = await self.retrieve.acall(question)
        return await self.answer.acall(passages=passages, question=question)


class Hops(lmpipe.Module):
    """Search hop by hop, and keep a sentence or two of each hop.

    The prompt stays short however many hops there are: a later one sees the notes of the earlier
    ones, and no passages but its own.
    """

    def __init__(self) -> None:
        self.query = lmpipe.Predict(WriteQuery)
        self.note = lmpipe.Predict(TakeNote)
        self.answer = lmpipe.Predict(AnswerFromNotes)

    async def follow(self, question: str, retrieve: lmpipe.Retrieve) -> AnswerFromNotes:
        """Answer a question from what a search finds."""
        notes: list[str] = []
        for _ in range(HOPS):
            asked = await self.query.acall(question=question, notes=notes)
            passages = await retrieve.acall(asked.query)
            noted = await self.note.acall(question=question, notes=notes, passages=passages)
            notes = [*notes, noted.note]
        return await self.answer.acall(notes=notes, question=question)


class MultiHop(Hops):
    """Hops over the passages about the invented world."""

    def __init__(self) -> None:
        super().__init__()
        self.retrieve = lmpipe.Retrieve(PASSAGES, k=4)

    async def forward(self, question: str) -> AnswerFromNotes:
        return await self.follow(question, self.retrieve)


def search(query: str) -> list[str]:
    """Search the passages for names, and return the best three."""
    [found] = PASSAGES.search([query], k=3)
    return [passage.text for passage in found]


VANILLA = lmpipe.Predict(AnswerQuestion)
RAG = Rag()
MULTI_HOP = MultiHop()
REACT = lmpipe.ReAct(
    AnswerQuestion, tools=[lmpipe.Tool.of(search, pure=VERSION)], max_steps=HOPS + 2
)

FEW_SHOT = lmpipe.LabeledFewShot(demos=6)
BOOTSTRAP = lmpipe.RandomSearch(candidates=8, demos=6, bootstrapped=4)
# A demonstration of an agent is a whole run with all that it found.
FEW_RUNS = lmpipe.RandomSearch(candidates=6, demos=3, bootstrapped=3)
FEW_RUNS_TWICE = lmpipe.Chain(stages=(FEW_RUNS, FEW_RUNS))
ENSEMBLE = lmpipe.Ensemble(search=BOOTSTRAP, size=5)


def _recipe(program: lmpipe.Module, name: str, optimizer: Optimizer) -> lmpipe.Recipe:
    parts: dict[str, Any] = {part: questions(part) for part in ("train", "val", "test")}
    return lmpipe.Recipe(
        program=program,
        metric=proven_answer,
        optimizer=optimizer,
        name=f"multi-hop-{name}",
        **parts,
    )


vanilla_few_shot = _recipe(VANILLA, "vanilla-few-shot", FEW_SHOT)

rag_few_shot = _recipe(RAG, "rag-few-shot", FEW_SHOT)
rag_bootstrap = _recipe(RAG, "rag-bootstrap", BOOTSTRAP)

react_bootstrap = _recipe(REACT, "react-bootstrap", FEW_RUNS)
react_bootstrap_twice = _recipe(REACT, "react-bootstrap-twice", FEW_RUNS_TWICE)

hops_few_shot = _recipe(MULTI_HOP, "hops-few-shot", FEW_SHOT)
hops_bootstrap = _recipe(MULTI_HOP, "hops-bootstrap", BOOTSTRAP)
hops_ensemble = _recipe(MULTI_HOP, "hops-ensemble", ENSEMBLE)

recipe = hops_bootstrap
