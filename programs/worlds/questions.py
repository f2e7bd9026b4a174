"""Questions over a world, each with its proof, and their split without leaks."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, TypeVar

from programs.worlds.chains import chains_by_type
from programs.worlds.facts import Fact, FactIndex, World
from programs.worlds.passages import Passage
from programs.worlds.phrases import event_of, named_by, question_of, stated
from programs.worlds.relations import RELATIONS
from programs.worlds.solver import Chain, Proof, UnprovenError, solve

_T = TypeVar("_T")

Kind = Literal["two hops", "three hops", "comparison", "years between"]

# More questions with one answer would make it a good guess.
_SAME_ANSWER = 4
_SAME_FACT = 3


@dataclass(frozen=True)
class Question:
    """A question with its answer and what proves it.

    Args:
        question: the question.
        answer: the answer, a name or a number.
        kind: how many steps the answer takes, or how two chains are combined.
        support: the ids of the passages that state the facts, in the order of the proof.
        reasoning: the facts in sentences.
        proof: the steps, for the solver.
    """

    question: str
    answer: str
    kind: Kind
    support: tuple[str, ...]
    reasoning: str
    proof: Proof
    facts: tuple[Fact, ...]

    @property
    def marks(self) -> list[str | Fact]:
        """What no question of another split may have: its facts, and the things it starts from."""
        return [*self.facts, *(chain.start for chain in self.proof.chains)]

    def to_json(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "answer": self.answer,
            "kind": self.kind,
            "support": list(self.support),
            "reasoning": self.reasoning,
            "proof": self.proof.to_json(),
        }


class QuestionWriter:
    """Writes questions of each kind in random order, the types of chains taking turns."""

    def __init__(self, world: World, passages: Sequence[Passage], seed: int) -> None:
        self._world = world
        self._index = FactIndex(world.facts)
        self._passages = {passage.title: passage for passage in passages}
        self._seed = seed

    def of_kind(self, kind: Kind) -> Iterator[Question]:
        """Write all sound questions of a kind."""
        rng = random.Random(f"{self._seed} {kind}")
        for proof in self._proofs(kind, rng):
            try:
                question = self._write(kind, proof)
            except UnprovenError:
                continue
            if self._needs_every_step(question):
                yield question

    def _proofs(self, kind: Kind, rng: random.Random) -> Iterator[Proof]:
        if kind in ("two hops", "three hops"):
            chains = chains_by_type(self._world, 2 if kind == "two hops" else 3)
            yield from (Proof((one,)) for one in _in_turns(chains, rng))
            return
        years = [
            one for one in _in_turns(chains_by_type(self._world, 2), rng) if _ends_in_year(one)
        ]
        if kind == "comparison":
            by_type: dict[tuple[str, ...], list[Chain]] = {}
            for one in years:
                if RELATIONS[one.steps[-1]].earlier:
                    by_type.setdefault(self._type(one), []).append(one)
            pairs = {
                key: [Proof(pair, "earlier") for pair in zip(found[::2], found[1::2], strict=False)]
                for key, found in by_type.items()
            }
            yield from _in_turns(pairs, rng)
            return
        others = rng.sample(years, len(years))
        yield from (Proof(pair, "difference") for pair in zip(years, others, strict=True))

    def _type(self, chain: Chain) -> tuple[str, ...]:
        return (self._world.by_name[chain.start].kind, *chain.steps)

    def _write(self, kind: Kind, proof: Proof) -> Question:
        solved = solve(proof, self._index)
        ids = [self._passages[fact.subject].id for fact in solved.facts]
        reasoning = " ".join(stated(fact) for fact in solved.facts)
        if proof.combine == "difference":
            early, late = sorted(int(fact.object) for fact in solved.facts[1::2])
            reasoning += f" {late} - {early} = {solved.answer}."
        return Question(
            self._asked(proof), solved.answer, kind, tuple(dict.fromkeys(ids)), reasoning, proof,
            solved.facts,
        )  # fmt: skip

    def _asked(self, proof: Proof) -> str:
        if proof.combine == "only":
            return question_of(self._world, proof.chains[0])
        one, other = proof.chains
        if proof.combine == "difference":
            events = [event_of(self._world, chain) for chain in proof.chains]
            return "How many years lie between {} and {}?".format(*events)
        a, b = (named_by(self._world, chain.start, chain.steps[:-1]) for chain in (one, other))
        return RELATIONS[one.steps[-1]].earlier.format(a=a, b=b)

    def _needs_every_step(self, question: Question) -> bool:
        """Whether neither the question nor an earlier passage shows the answer or a shortcut."""
        *earlier, last = question.support
        if question.proof.combine == "only":
            texts = [one.text for one in self._passages.values() if one.id in earlier]
            if len(question.support) < len(question.facts) or last in earlier:
                return False
            return not any(question.answer in text for text in (question.question, *texts))
        things = {fact.subject for fact in question.facts}
        return len(things) == len(question.facts) and question.answer != "0"


class _Splits:
    """Questions in splits that share nothing which proves an answer."""

    def __init__(self, names: Iterable[str]) -> None:
        self.questions: dict[str, list[Question]] = {name: [] for name in names}
        self._owner: dict[str | Fact, str] = {}
        self._answers: Counter[str] = Counter()
        self._facts: Counter[Fact] = Counter()

    def may_have(self, question: Question) -> list[str]:
        """The splits that a question may be in."""
        often = max(self._facts[fact] for fact in question.facts) >= _SAME_FACT
        if often or self._answers[question.answer] >= _SAME_ANSWER:
            return []
        owners = {self._owner[mark] for mark in question.marks if mark in self._owner}
        return [name for name in self.questions if owners <= {name}]

    def add(self, name: str, question: Question) -> None:
        """Put a question into a split."""
        self.questions[name].append(question)
        self._owner.update(dict.fromkeys(question.marks, name))
        self._answers[question.answer] += 1
        self._facts.update(question.facts)


def split_questions(
    writer: QuestionWriter, sizes: Mapping[str, Mapping[Kind, int]], seed: int
) -> dict[str, list[Question]]:
    """Draw questions for each split so that no fact of a proof serves in two splits.

    Nor does a question of one split start from a thing that one of another starts from.

    Raises:
        ValueError: if the world has too few questions.
    """
    splits = _Splits(sizes)
    kinds: dict[Kind, None] = {kind: None for size in sizes.values() for kind in size}
    for kind in kinds:
        wanted = {name: size[kind] for name, size in sizes.items() if size.get(kind)}
        missing = dict(wanted)
        for question in writer.of_kind(kind):
            free = [name for name in splits.may_have(question) if missing.get(name)]
            if free:
                name = max(free, key=lambda one: missing[one] / wanted[one])
                splits.add(name, question)
                missing[name] -= 1
            if not any(missing.values()):
                break
        else:
            raise ValueError(f"the world has too few questions of the kind {kind!r}: {missing}")
    rng = random.Random(seed)
    return {name: rng.sample(found, len(found)) for name, found in splits.questions.items()}


def _ends_in_year(chain: Chain) -> bool:
    relation = RELATIONS[chain.steps[-1]]
    return relation.object == "year" and bool(relation.event)


def _in_turns(groups: Mapping[tuple[str, ...], Sequence[_T]], rng: random.Random) -> Iterator[_T]:
    """Yield one item of each group after the other, all in random order."""
    mixed = [rng.sample(list(group), len(group)) for group in groups.values()]
    for row in zip_longest(*mixed):
        present = [item for item in row if item is not None]
        yield from rng.sample(present, len(present))
