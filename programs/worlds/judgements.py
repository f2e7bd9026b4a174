"""Answers to questions, right and wrong in ways that are known, for a judge to be compared with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from programs.worlds.facts import VALUES, Kind, World
from programs.worlds.questions import Question
from programs.worlds.relations import RELATIONS

# `{named}` is the reference where the answer is right, and else another thing of its kind.
_COMMITTED = (
    "{named}",
    "It is {named}.",
    "The passages lead to {named}, as the first of them says.",
    "Not {denied}, as one might think, but {named}.",
    "I was unsure at first, but all passages agree: {named}.",
    "Many people think of {denied}, but it is {named}.",
)
_UNDECIDED = (
    "Either {named} or {denied}; the passages do not say which.",
    "The passages do not answer this.",
)


def write_judgements(
    world: World, questions: Sequence[Question], count: int, seed: int
) -> list[dict[str, Any]]:
    """Write candidate answers to questions, every other one of them right.

    A right answer commits to the reference and to nothing else; a wrong one names another thing of
    the same kind, leaves the choice open, or gives none.
    """
    rng = random.Random(seed)
    one_chain = [question for question in questions if question.proof.combine == "only"]
    drawn = rng.sample(one_chain, count)
    rows = []
    for number, question in enumerate(drawn):
        right = number % 2 == 0
        forms = _COMMITTED if right else (*_COMMITTED, *_UNDECIDED)
        wrong = rng.choice(_others(world, question))
        named, denied = (question.answer, wrong) if right else (wrong, question.answer)
        rows.append(
            {
                "question": question.question,
                "reference": question.answer,
                "candidate": forms[number // 2 % len(forms)].format(named=named, denied=denied),
                "correct": right,
            }
        )
    return rng.sample(rows, len(rows))


def _others(world: World, question: Question) -> list[str]:
    """What other facts with the last relation of the proof end in."""
    relation = question.facts[-1].relation
    kind: Kind = RELATIONS[relation].object
    found = {fact.object for fact in world.facts if fact.relation == relation}
    if kind not in VALUES:
        found = {thing.name for thing in world.things if thing.kind == kind}
    return sorted(found - {question.answer})
