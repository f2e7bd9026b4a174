"""The steps of GEPA on the engine: mini-batches, the test of a proposal, validation in blocks.

The `gepa` package decides what comes next; this does it, and counts what it takes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_batches import MiniBatches
from lmpipe.optimize.gepa_components import Component, Components
from lmpipe.optimize.gepa_knowledge import Knowledge
from lmpipe.optimize.gepa_proposer import CustomProposer, Reflection, Tried, merge_versions, propose
from lmpipe.optimize.shared.candidate_names import changes_words
from lmpipe.optimize.shared.held_out import is_behind
from lmpipe.optimize.shared.merge_texts import merge_lines
from lmpipe.optimize.shared.paired_test import Pair, PairedTest, net_gains, sign_test
from lmpipe.state.program_state import ProgramState

# What validation may take of all runs, as far as the examples allow it.
_VALIDATION_SHARE = 0.5
# The most promising candidate is raced if it is worth it: its lead over the best, for all runs
# since the last time, against a part of the runs it takes.
_WORTH = 0.35
# The first block of validation examples: a tenth of them, but at least 6.
_BLOCKS, _SMALLEST_BLOCK = 10, 6
# The probability of a gain by chance up to which a proposal is accepted, at each look.
_LEVEL = 0.1
# The same on all training examples, where none was chosen because it went wrong: gains and losses
# by chance are as likely then. The first proposals of a short search can only pass this test.
_LAST_LEVEL = 0.2
# The package tests a merged candidate on this many validation examples before it joins the pool.
MERGE_TEST = 5
# So many proposals for a parent that were better by too little are merged into one.
_HELD = 3
# A proposal is tested on at most this many times the examples of a mini-batch, each time.
_LONGEST_TEST = 4


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The settings of a search.

    Args:
        batch: the number of training examples in a mini-batch.
        runs: the maximum number of runs of the program, one validation of the start included.
        asks: the maximum number of questions to the proposer.
        parents: how many candidates a step draws.
        proposals: how many children each of them gets in a step.
        changes: how many texts a child changes.
        prompt_weight: the score that 1,000 more characters of text must bring.
        proposer: writes texts in place of the default questions.
    """

    batch: int
    runs: int
    asks: int
    parents: int = 1
    proposals: int = 1
    changes: int = 1
    prompt_weight: float = 0.0
    proposer: CustomProposer | None = None


@dataclass
class Proposal:
    """A child and its parent, with their scores on the same training examples."""

    parent: ProgramState
    child: ProgramState
    pairs: dict[int, Pair] = field(default_factory=dict)
    longest: int = 0  # so many examples at most
    accepted: bool | None = None
    reason: str = ""


@dataclass
class GepaSearch:
    """What a search does, and what it has spent.

    Attributes:
        components: the texts that it changes.
        known: what it knows of its candidates.
        batches: chooses training examples.
        runs: the runs of the program so far, one validation of the start included.
        first_block: the validation examples on which candidates are compared.
    """

    task: Task
    settings: SearchSettings
    components: Components
    rng: random.Random
    runs: int = 0
    _validations: int = 0
    _asks: int = 0
    _validated_at: int = 0
    _joined: int = 0
    _raced: set[ProgramState] = field(default_factory=set)
    _tried: dict[tuple[Component, str], list[Tried]] = field(default_factory=dict)
    _held: dict[ProgramState, list[Proposal]] = field(default_factory=dict)
    _times: Counter[tuple[ProgramState, ProgramState]] = field(default_factory=Counter)
    _learned: set[tuple[ProgramState, ProgramState, int]] = field(default_factory=set)
    _lost: set[ProgramState] = field(default_factory=set)
    _test: PairedTest = field(default_factory=lambda: PairedTest(_LEVEL))

    def __post_init__(self) -> None:
        size = len(self.task.val)
        block = min(size, max(_SMALLEST_BLOCK, size // _BLOCKS))
        self.first_block = sorted(self.rng.sample(range(size), block))
        self.runs = self._validations = self._validated_at = size
        self.known = Knowledge(self.task, self._test)
        self.batches = MiniBatches(self.known, self.rng, self.settings.batch)

    # --- what is left

    @property
    def ended(self) -> bool:
        """Whether no step may begin: for lack of runs or questions, or as all is right."""
        parents = self._children * (self.settings.batch + len(self.first_block))
        return (
            self._left() < parents + self._runs_of_children + MERGE_TEST
            or self._asks + self._asks_of_step > self.settings.asks
            or self.task.best.score >= 1
        )

    def _left(self) -> int:
        """Return the runs that are left beside those of the last validation."""
        return self.settings.runs - self.runs - len(self.task.val)

    @property
    def _children(self) -> int:
        return self.settings.parents * self.settings.proposals

    @property
    def _runs_of_children(self) -> int:
        """The runs of the children of a step on their mini-batches."""
        # Those of one parent are tested together first, and then one by one.
        times = 2 if self.settings.proposals > 1 else 1
        return times * self._children * self.settings.batch

    @property
    def _asks_of_step(self) -> int:
        """The questions by which the children of a step are written."""
        return self._children * self.settings.changes

    # --- training examples

    async def train_rows(self, pairs: Sequence[tuple[ProgramState, int]]) -> list[Row]:
        """Run states on training examples, those that are not known."""
        new = [
            (state, index)
            for state, index in dict.fromkeys(pairs)
            if index not in self.known.on_train(state)
        ]
        found = await self.task.trials([(state, self.task.train[index]) for state, index in new])
        for (state, index), row in zip(new, found, strict=True):
            self.known.keep(state, index, row)
        self.runs += len(new)
        return [self.known.on_train(state)[index] for state, index in pairs]

    # --- proposals

    async def reflect(
        self, jobs: Sequence[tuple[ProgramState, Component, Sequence[Row]]]
    ) -> list[str | None]:
        """Write a new text for each state and component, from its runs."""
        reflections = [
            Reflection(
                component.path,
                state,
                tuple(sorted(rows, key=lambda row: row.score.value)),
                tuple(reversed(self._tried.get((component, text), ()))),
                component.field,
                text if component.field else "",
            )
            for state, component, rows in jobs
            for text in [self.components.text(state, component)]
        ]
        self._asks += len(jobs)
        return await propose(
            self.task, reflections, self.settings.proposer, siblings=self.settings.proposals - 1
        )

    async def merge(
        self,
        parent: ProgramState,
        children: Sequence[ProgramState],
        indices: Sequence[int],
        *,
        asks_left: int = 0,
    ) -> ProgramState | None:
        """Merge children that were written from different examples, and run the result on all.

        Args:
            parent: what they were written for.
            children: what to merge.
            indices: the training examples to run the result on.
            asks_left: how many questions must be left after those that this asks.

        Returns:
            The merged child; None if it cannot be made, or is not better than its parent there.
        """
        texts: dict[Component, str] = {}
        for component in self.components.every:
            base = self.components.text(parent, component)
            new = [self.components.text(child, component) for child in children]
            new = [text for text in dict.fromkeys(new) if text != base]
            merged = merge_lines(base, new) if len(new) > 1 else next(iter(new), base)
            if merged is None and self._may_ask(asks_left):
                self._asks += 1
                merged = await merge_versions(self.task, component, parent, base, new)
            if merged is None:
                return None
            texts[component] = merged
        child = self.components.changed(parent, texts)
        await self.train_rows([(child, index) for index in indices])
        return child if net_gains(list(self._pairs(parent, child).values())) > 0 else None

    async def merge_held(self, parent: ProgramState) -> ProgramState | None:
        """Merge children that did better than their parent, but by too little to be accepted.

        Returns:
            The merged child; None if there are too few, or as `merge` does.
        """
        held = self._held.get(parent, [])
        most = self._longest + self._runs_of_children  # if it is of no use
        if len(held) < _HELD or self._left() < most:
            return None
        self._held[parent] = []
        seen = {index for one in held for index in one.pairs}
        indices = [index for index in self.batches.in_order(parent, ()) if index in seen]
        children = [one.child for one in held]
        # If it is of no use, the children of this step are yet to be written.
        return await self.merge(
            parent, children, indices[: self._longest], asks_left=self._asks_of_step
        )

    def _may_ask(self, asks_left: int) -> bool:
        """Whether the proposer may be asked to merge; a function that writes texts takes over."""
        asks_lm = self.settings.proposer is None or isinstance(self.settings.proposer, type)
        return asks_lm and self._asks + asks_left < self.settings.asks

    def _pairs(self, parent: ProgramState, child: ProgramState) -> dict[int, Pair]:
        """Return the scores of a parent and its child on the examples that both were run on."""
        before, after = self.known.on_train(parent), self.known.on_train(child)
        return {
            index: (before[index].score.value, row.score.value)
            for index, row in after.items()
            if index in before
        }

    async def test(self, proposals: Sequence[Proposal], pool: Sequence[ProgramState]) -> None:
        """Decide about proposals, on more examples where a mini-batch is not enough."""
        for one in proposals:
            one.pairs = self._pairs(one.parent, one.child)
            # What is proposed again is tested on more examples.
            times = self._times[one.parent, one.child] = self._times[one.parent, one.child] + 1
            one.longest = min(times * self._longest, len(self.task.train))
            if one.child in pool or one.child in self._lost:
                one.accepted, one.reason = False, "rejected: it was tested before"
        new = [one for one in proposals if one.accepted is None]
        while undecided := [one for one in new if one.accepted is None]:
            for one in undecided:
                self._decide(one)
            more: list[tuple[Proposal, list[int]]] = []
            for one in undecided:
                if one.accepted is None:
                    size = min(len(one.pairs), one.longest - len(one.pairs))
                    taken = set(one.pairs)
                    fresh = [i for i in self.batches.in_order(one.parent, taken) if i not in taken]
                    more.append((one, fresh[:size]))
            asked = [
                (state, index)
                for one, indices in more
                for index in indices
                for state in (one.parent, one.child)
            ]
            rows = iter(await self.train_rows(asked) if asked else [])
            for one, indices in more:
                for index in indices:
                    one.pairs[index] = (next(rows).score.value, next(rows).score.value)
        for one in new:
            self._note(one)

    @property
    def _longest(self) -> int:
        return min(_LONGEST_TEST * self.settings.batch, len(self.task.train))

    def _decide(self, one: Proposal) -> None:
        pairs = list(one.pairs.values())
        gain = fmean(after - before for before, after in pairs) - self._price(one)
        usual = list(self.known.val_scores(one.parent).values())
        # The next look may run both states of each proposal on as many examples again.
        more = 2 * self._children * len(pairs)
        if net_gains(pairs) <= 0 or gain <= 0:
            one.accepted = False
        elif self._test.helps(pairs, usual):
            one.accepted = True
        elif len(pairs) >= one.longest or self._left() < more:
            whole = len(pairs) == len(self.task.train)
            # A single task leaves nothing to chance but what its score does.
            one.accepted = whole and (len(pairs) == 1 or sign_test(pairs) <= _LAST_LEVEL)
            if not one.accepted:
                self._held.setdefault(one.parent, []).append(one)

    def _price(self, one: Proposal) -> float:
        grown = self._length(one.child) - self._length(one.parent)
        return self.settings.prompt_weight * grown / 1000

    def _length(self, state: ProgramState) -> int:
        return sum(len(self.components.text(state, item)) for item in self.components.every)

    def _note(self, one: Proposal) -> None:
        pairs = list(one.pairs.values())
        new = [
            place for i in one.pairs if (place := (one.parent, one.child, i)) not in self._learned
        ]
        self._learned.update(new)
        usual = list(self.known.val_scores(one.parent).values())
        self._test.learn([one.pairs[index] for _, _, index in new], usual)
        better = sum(after > before for before, after in pairs)
        worse = sum(after < before for before, after in pairs)
        verdict = "accepted" if one.accepted else "rejected"
        one.reason = f"{verdict}: {better} better and {worse} worse of {plural(len(pairs), 'run')}"
        text, changed = self.components.text, self.components.differing(one.parent, one.child)
        for item in changed:
            tried = self._tried.setdefault((item, text(one.parent, item)), [])
            tried.append(Tried(text(one.child, item), one.reason))
        before = [item for item in self.components.every if not item.field or item in changed]
        self.task.note(
            "proposal tested",
            accepted=bool(one.accepted),
            result=one.reason,
            before={str(item): text(one.parent, item) for item in before},
            after={str(item): text(one.child, item) for item in changed},
        )

    # --- validation

    async def validate(self, states: Sequence[ProgramState]) -> dict[ProgramState, list[Row]]:
        """Run states on the first block of validation examples."""
        pairs = [(state, index) for state in dict.fromkeys(states) for index in self.first_block]
        rows = iter(await self.validation_rows(pairs))
        return {state: [next(rows) for _ in self.first_block] for state in dict.fromkeys(states)}

    async def validation_rows(self, pairs: Sequence[tuple[ProgramState, int]]) -> list[Row]:
        """Run states on validation examples, those that are not known."""
        new = sum(index not in self.known.on_val(state) for state, index in dict.fromkeys(pairs))
        rows = await self.task.peek(list(pairs))
        self._count(new, [state for state, _ in pairs])
        return rows

    async def join(self, proposals: Sequence[Proposal]) -> None:
        """Take accepted proposals into the pool, but those that lose on the first block.

        The block is left out as long as validation has taken its share of the runs.
        """
        for one in proposals:
            self.known.descend(one.child, [one.parent])
        if not self._may_validate(len(self.first_block) * len(proposals)):
            return
        found = await self.validate([one.child for one in proposals])
        for one in proposals:
            after = {row.index: row.score.value for row in found[one.child]}
            parent, best = self.known.on_val(one.parent), self.known.on_val(self.task.best.state)
            pairs = [(parent[i], score) for i, score in after.items() if i in parent]
            self._test.learn(pairs, list(parent.values()))
            if is_behind([(best[i], score) for i, score in after.items() if i in best]):
                one.accepted, one.reason = False, "rejected: worse on validation than the best"
                self._lost.add(one.child)

    def _may_validate(self, new: int) -> bool:
        """Whether candidates may be compared on validation examples before the last validation."""
        last = len(self.task.val)
        share = (self._validations + new + last) / (self.runs + new + last)
        return new <= self._left() and share <= _VALIDATION_SHARE

    async def keep_pace(self, pool: Sequence[ProgramState]) -> None:
        """Race the most promising of the pool on all validation examples, if that is worth it."""
        leader = self.known.leader(pool)
        missing = len(self.task.val) - len(self.known.on_val(leader))
        if not missing:
            if leader not in self._raced and self.known.promise(leader) > self.task.best.score:
                await self._race([leader])  # which costs nothing
            return
        if self._left() < missing:
            return
        lead = self.known.promise(leader) - self.task.best.score
        share = (self._validations + missing) / (self.runs + missing)
        worth = lead * (self.runs - self._validated_at) >= _WORTH * missing
        if worth and share <= _VALIDATION_SHARE:
            await self._race([leader])
            self._validated_at = self.runs

    async def finish(self, pool: Sequence[ProgramState]) -> None:
        """Race the most promising of the pool with what is left."""
        leader = self.known.leader(pool)
        missing = len(self.task.val) - len(self.known.on_val(leader))
        if missing <= self.settings.runs - self.runs:
            await self._race([leader])
        self.task.note("gepa ended", runs=self.runs, validations=self._validations)

    async def _race(self, states: Sequence[ProgramState]) -> None:
        entries = []
        self._raced.update(states)
        for state in states:
            if state != self.task.best.state:
                self._joined += 1
                entries.append(
                    (f"gepa {self._joined}: {changes_words(self.task.start, state)}", state)
                )
        before = sum(len(self.known.on_val(state)) for _, state in entries)
        await self.task.race(entries)
        after = sum(len(self.task.known(state)) for _, state in entries)
        self._count(after - before, [state for _, state in entries])

    def _count(self, validations: int, states: Iterable[ProgramState]) -> None:
        self.runs += validations
        self._validations += validations
        self.known.changed(states)
