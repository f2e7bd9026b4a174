"""Conversations: the hops of a question as turns, each of which needs the turns before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from programs.worlds.facts import World
from programs.worlds.phrases import called, called_again
from programs.worlds.questions import Question
from programs.worlds.relations import RELATIONS
from programs.worlds.solver import BACK


def write_conversations(world: World, questions: Iterable[Question]) -> list[dict[str, Any]]:
    """Write the questions that can be asked step by step as conversations.

    The last turn is the question to answer, the others are the history. Only the first turn names
    a thing; the others say `that person` or `it`. The standalone form of the last one names what it
    is about.
    """
    return [
        _conversation(world, question)
        for question in questions
        if question.proof.combine == "only"
        and not any(step.startswith(BACK) for step in question.proof.chains[0].steps)
    ]


def _conversation(world: World, question: Question) -> dict[str, Any]:
    turns = []
    for number, fact in enumerate(question.facts):
        name = called_again(world, fact.subject) if number else called(world, fact.subject)
        asked = RELATIONS[fact.relation].ask.format(x=name)
        turns.append({"question": asked, "answer": fact.object})
    *history, last = turns
    end = question.facts[-1]
    subject = called(world, end.subject)
    return {
        "history": history,
        "question": last["question"],
        "standalone": RELATIONS[end.relation].ask.format(x=subject),
        "answer": question.answer,
        "support": question.support[-1:],
    }
