"""Proofs of answers, and a solver that follows them through facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from programs.worlds.facts import Fact, FactIndex

Combine = Literal["only", "earlier", "difference"]

# Marks a step from an object to its subject.
BACK = "-"


class UnprovenError(ValueError):
    """The facts leave a step of a proof without a result, or with several."""


@dataclass(frozen=True)
class Chain:
    """Steps from a thing to an answer.

    Args:
        start: the name of the thing that the question names.
        steps: names of relations to follow; `-founder` goes from a founder to what they founded.
    """

    start: str
    steps: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"start": self.start, "steps": list(self.steps)}


@dataclass(frozen=True)
class Proof:
    """How an answer follows from facts.

    Args:
        chains: one chain, or the two that are compared, which end in years.
        combine: the answer is the end of the only chain; what had the earlier year; or the
            difference of the years.
    """

    chains: tuple[Chain, ...]
    combine: Combine = "only"

    def to_json(self) -> dict[str, Any]:
        return {"chains": [chain.to_json() for chain in self.chains], "combine": self.combine}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Proof:
        """Read what `to_json` wrote."""
        chains = [Chain(one["start"], tuple(one["steps"])) for one in value["chains"]]
        return cls(tuple(chains), value["combine"])


@dataclass(frozen=True)
class Solved:
    """An answer with the facts that it follows from, in the order of the steps."""

    answer: str
    facts: tuple[Fact, ...]


def solve(proof: Proof, facts: FactIndex) -> Solved:
    """Follow a proof through facts.

    Raises:
        UnprovenError: if a step has no result, or several.
    """
    walks = [_walk(chain, facts) for chain in proof.chains]
    used = tuple(fact for walk in walks for fact in walk)
    if proof.combine == "only":
        return Solved(_end(walks[0], proof.chains[0]), used)
    years = [int(_end(walk, chain)) for walk, chain in zip(walks, proof.chains, strict=True)]
    if proof.combine == "difference":
        return Solved(str(abs(years[0] - years[1])), used)
    if years[0] == years[1]:
        raise UnprovenError(f"{proof}: both are of {years[0]}")
    return Solved(walks[years.index(min(years))][-1].subject, used)


def _walk(chain: Chain, facts: FactIndex) -> list[Fact]:
    walk: list[Fact] = []
    place = chain.start
    for step in chain.steps:
        relation = step.removeprefix(BACK)
        back = step.startswith(BACK)
        found = facts.subjects(place, relation) if back else facts.objects(place, relation)
        if len(found) != 1:
            raise UnprovenError(f"{chain}: {step} of {place} is {sorted(found) or 'unknown'}")
        [reached] = found
        walk.append(Fact(reached, relation, place) if back else Fact(place, relation, reached))
        place = reached
    return walk


def _end(walk: list[Fact], chain: Chain) -> str:
    return walk[-1].subject if chain.steps[-1].startswith(BACK) else walk[-1].object
