"""The steps of GEPA on the engine: mini-batches, the test of a proposal, validation in blocks.

The `gepa` package decides what comes next; this does it, and knows what was seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lmpipe.evaluation.results import Row
from lmpipe.foundation.plural import plural
from lmpipe.foundation.statistics import paired_interval
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.gepa_proposer import CustomProposer, Reflection, Tried, propose
from lmpipe.optimize.shared.candidate_names import changes_words
from lmpipe.optimize.shared.paired_test import Pair, PairedTest, net_gains, sign_test
from lmpipe.optimize.shared.proposer_text import with_instruction
from lmpipe.state.program_state import ProgramState

# What validation may take of all runs, before the last one.
_VALIDATION_SHARE = 0.5
# Below this share, the most promising candidate is validated at once. Above, it must be worth it:
# its lead over the best, for all runs since the last time, against a part of the runs it takes.
_SPARED_SHARE, _WORTH = 0.35, 0.35
# A candidate's own validation scores count against so many of its parent's expected score.
_PARENT_WEIGHT = 6
# The first block of validation examples: a tenth of them, but at least 6.
_BLOCKS, _SMALLEST_BLOCK = 10, 6
# A child that is behind the best by more than chance on its first block does not join the pool.
_RISK = 0.2
# The probability of a gain by chance up to which a proposal is accepted, at each look.
_LEVEL = 0.1
# The same on all training examples, where none was chosen because it went wrong: gains and losses
# by chance are as likely then. The first proposals of a short search can only pass this test.
_LAST_LEVEL = 0.2
# The package tests a merged candidate on this many validation examples before it joins the pool.
MERGE_TEST = 5
# A proposal is tested on at most this many times the examples of a mini-batch.
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
        prompt_weight: the score that 1,000 more characters of instructions must bring.
        proposer: writes instructions in place of the default questions.
    """

    batch: int
    runs: int
    asks: int
    parents: int = 1
    proposals: int = 1
    prompt_weight: float = 0.0
    proposer: CustomProposer | None = None


@dataclass
class Proposal:
    """A child and its parent, with their scores on the same training examples."""

    parent: ProgramState
    child: ProgramState
    pairs: dict[int, Pair]
    accepted: bool | None = None
    reason: str = ""


@dataclass
class GepaSearch:
    """What a search has seen and spent.

    Attributes:
        runs: the runs of the program so far, one validation of the start included.
        first_block: the validation examples on which all of the pool are compared.
    """

    task: Task
    settings: SearchSettings
    rng: random.Random
    runs: int = 0
    _validations: int = 0
    _asks: int = 0
    _validated_at: int = 0
    _joined: int = 0
    _raced: set[ProgramState] = field(default_factory=set)
    _rows: dict[ProgramState, dict[int, Row]] = field(default_factory=dict)
    _seen: dict[ProgramState, dict[int, float]] = field(default_factory=dict)
    _parents: dict[ProgramState, tuple[ProgramState, ...]] = field(default_factory=dict)
    _tried: dict[tuple[str, str], list[Tried]] = field(default_factory=dict)
    _uses: dict[tuple[ProgramState, int], int] = field(default_factory=dict)
    _test: PairedTest = field(default_factory=lambda: PairedTest(_LEVEL))

    def __post_init__(self) -> None:
        size = len(self.task.val)
        block = min(size, max(_SMALLEST_BLOCK, size // _BLOCKS))
        self.first_block = sorted(self.rng.sample(range(size), block))
        self.runs = self._validations = self._validated_at = size

    # --- what is left

    @property
    def ended(self) -> bool:
        """Whether no step may begin: for lack of runs or questions, or as all is right."""
        step = self._children * (2 * self.settings.batch + len(self.first_block)) + MERGE_TEST
        return self._left() < step or self._asks >= self.settings.asks or self.task.best.score >= 1

    def _left(self) -> int:
        """Return the runs that are left beside those of the last validation."""
        return self.settings.runs - self.runs - len(self.task.val)

    @property
    def _children(self) -> int:
        return self.settings.parents * self.settings.proposals

    # --- training examples

    def mini_batch(self, parent: ProgramState, taken: Iterable[int]) -> list[int]:
        """Choose training examples to reflect on: those that go wrong, as far as that is known.

        What the parent was run on costs nothing to see again, so it comes first; then what went
        wrong with its ancestors, then what is unknown. An example serves a parent twice before
        the next ones do.
        """
        chosen = self._order(parent, taken)[: self.settings.batch]
        for index in chosen:
            self._uses[parent, index] = self._uses.get((parent, index), 0) + 1
        return chosen

    def _order(self, parent: ProgramState, taken: Iterable[int]) -> list[int]:
        free = set(range(len(self.task.train))) - set(taken)
        if len(free) < self.settings.batch:
            free = set(range(len(self.task.train)))
        shuffled = self.rng.sample(sorted(free), len(free))

        def rank(index: int) -> tuple[bool, int]:
            own = self._rows.get(parent, {}).get(index)
            seen = own or self._inherited(parent, index)
            if seen is None:
                kind = 2
            elif seen.score.value < 1:
                kind = 0 if own else 1
            else:
                kind = 3
            return self._uses.get((parent, index), 0) >= 2, kind

        return sorted(shuffled, key=rank)

    def _inherited(self, state: ProgramState, index: int) -> Row | None:
        """Return what the nearest ancestor that was run on a training example did with it."""
        level = self._parents.get(state, ())
        while level:
            for ancestor in level:
                if row := self._rows.get(ancestor, {}).get(index):
                    return row
            level = tuple(up for one in level for up in self._parents.get(one, ()))
        return None

    async def train_rows(self, pairs: Sequence[tuple[ProgramState, int]]) -> list[Row]:
        """Run states on training examples, those that are not known."""
        new = [pair for pair in dict.fromkeys(pairs) if pair[1] not in self._rows.get(pair[0], {})]
        found = await self.task.trials([(state, self.task.train[index]) for state, index in new])
        for (state, index), row in zip(new, found, strict=True):
            self._rows.setdefault(state, {})[index] = row
        self.runs += len(new)
        return [self._rows[state][index] for state, index in pairs]

    # --- proposals

    async def reflect(
        self, jobs: Sequence[tuple[ProgramState, str, Sequence[Row]]]
    ) -> list[str | None]:
        """Write a new instruction for each state and predictor, from its runs."""
        reflections = [
            Reflection(
                path,
                state,
                tuple(sorted(rows, key=lambda row: row.score.value)),
                tuple(reversed(self._tried.get((path, state[path].instruction), ()))),
            )
            for state, path, rows in jobs
        ]
        self._asks += len(jobs)
        return await propose(self.task, reflections, self.settings.proposer)

    async def test(self, proposals: Sequence[Proposal], pool: Sequence[ProgramState]) -> None:
        """Decide about proposals, on more examples where a mini-batch is not enough."""
        for one in proposals:
            if one.child in pool:
                one.accepted, one.reason = False, "rejected: it was accepted before"
        new = [one for one in proposals if one.accepted is None]
        while undecided := [one for one in new if one.accepted is None]:
            for one in undecided:
                self._decide(one)
            more: list[tuple[Proposal, list[int]]] = []
            for one in undecided:
                if one.accepted is None:
                    size = min(len(one.pairs), self._longest - len(one.pairs))
                    taken = set(one.pairs)
                    fresh = [i for i in self._order(one.parent, taken) if i not in taken]
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
        usual = list(self.scores(one.parent).values())
        # The next look may run both states of each proposal on as many examples again.
        more = 2 * self._children * len(pairs)
        if net_gains(pairs) <= 0 or gain <= 0:
            one.accepted = False
        elif self._test.helps(pairs, usual):
            one.accepted = True
        elif len(pairs) >= self._longest or self._left() < more:
            whole = len(pairs) == len(self.task.train)
            # A single task leaves nothing to chance but what its score does.
            one.accepted = whole and (len(pairs) == 1 or sign_test(pairs) <= _LAST_LEVEL)

    def _price(self, one: Proposal) -> float:
        grown = _length(one.child) - _length(one.parent)
        return self.settings.prompt_weight * grown / 1000

    def _note(self, one: Proposal) -> None:
        pairs = list(one.pairs.values())
        self._test.learn(pairs)
        better = sum(after > before for before, after in pairs)
        worse = sum(after < before for before, after in pairs)
        verdict = "accepted" if one.accepted else "rejected"
        one.reason = f"{verdict}: {better} better and {worse} worse of {plural(len(pairs), 'run')}"
        changed = [
            path
            for path in one.child.predictors
            if one.child[path].instruction != one.parent[path].instruction
        ]
        for path in changed:
            key = (path, one.parent[path].instruction)
            self._tried.setdefault(key, []).append(Tried(one.child[path].instruction, one.reason))
        self.task.note(
            "proposal tested",
            accepted=bool(one.accepted),
            result=one.reason,
            before={path: state.instruction for path, state in one.parent.predictors.items()},
            after={path: one.child[path].instruction for path in changed},
        )

    # --- validation

    async def validate(self, states: Sequence[ProgramState]) -> dict[ProgramState, list[Row]]:
        """Run states on the first block of validation examples, and learn from the comparison."""
        pairs = [(state, index) for state in dict.fromkeys(states) for index in self.first_block]
        rows = iter(await self.validation_rows(pairs))
        return {state: [next(rows) for _ in self.first_block] for state in dict.fromkeys(states)}

    async def validation_rows(self, pairs: Sequence[tuple[ProgramState, int]]) -> list[Row]:
        """Run states on validation examples, those that are not known."""
        new = sum(index not in self._known(state) for state, index in dict.fromkeys(pairs))
        rows = await self.task.peek(list(pairs))
        self._count(new, [state for state, _ in pairs])
        return rows

    async def join(self, proposals: Sequence[Proposal]) -> None:
        """Validate accepted proposals on the first block; those that lose there are rejected."""
        if self._left() < len(self.first_block) * len(proposals):
            for one in proposals:
                one.accepted, one.reason = False, "rejected: there are no runs left to validate it"
            return
        found = await self.validate([one.child for one in proposals])
        for one in proposals:
            after = {row.index: row.score.value for row in found[one.child]}
            parent, best = self._known(one.parent), self._known(self.task.best.state)
            self._test.learn([(parent[i], score) for i, score in after.items() if i in parent])
            apart = [score - best[i] for i, score in after.items() if i in best]
            if apart and paired_interval(apart, 1 - 2 * _RISK).high < 0:
                one.accepted, one.reason = False, "rejected: worse on validation than the best"
            else:
                self.descend(one.child, [one.parent])

    def descend(self, child: ProgramState, parents: Sequence[ProgramState]) -> None:
        """Remember where a state of the pool comes from."""
        self._parents.setdefault(child, tuple(parents))

    def descends(self, state: ProgramState, ancestor: ProgramState) -> bool:
        """Whether a state is, or comes from, another one."""
        parents = self._parents.get(state, ())
        return state == ancestor or any(self.descends(parent, ancestor) for parent in parents)

    def scores(self, state: ProgramState) -> dict[int, float]:
        """Return validation scores: its own, or those of the nearest ancestor that was run."""
        found = dict(self._known(state))
        for parent in self._parents.get(state, ()):
            for index, score in self.scores(parent).items():
                found.setdefault(index, score)
        return found

    def _known(self, state: ProgramState) -> dict[int, float]:
        """Return the validation scores of a state's own runs."""
        if state not in self._seen:
            rows = self.task.known(state)
            self._seen[state] = {index: row.score.value for index, row in rows.items()}
        return self._seen[state]

    async def keep_pace(self, pool: Sequence[ProgramState]) -> None:
        """Race the most promising of the pool on all validation examples, if that is worth it."""
        leader = self._leader(pool)
        missing = len(self.task.val) - len(self._known(leader))
        if not missing:
            if leader not in self._raced and self.promise(leader) > self.task.best.score:
                await self._race([leader])  # which costs nothing
            return
        if self._left() < missing:
            return
        lead = self.promise(leader) - self.task.best.score
        worth = lead * (self.runs - self._validated_at) >= _WORTH * missing
        share = (self._validations + missing) / (self.runs + missing)
        if share <= (_VALIDATION_SHARE if worth else _SPARED_SHARE):
            await self._race([leader])
            self._validated_at = self.runs

    async def finish(self, pool: Sequence[ProgramState]) -> None:
        """Race the most promising of the pool with what is left."""
        leader = self._leader(pool)
        missing = len(self.task.val) - len(self._known(leader))
        if missing <= self.settings.runs - self.runs:
            await self._race([leader])

    def _leader(self, pool: Sequence[ProgramState]) -> ProgramState:
        """Return the most promising of the pool; of equal ones the latest."""
        return max(reversed(pool), key=self.promise)

    def promise(self, state: ProgramState) -> float:
        """Expect a score on all validation examples, from a few and what its parents promise."""
        own, parents = self._known(state), self._parents.get(state, ())
        if not parents or len(own) == len(self.task.val):
            return fmean(own.values())
        inherited = max(map(self.promise, parents))
        return (sum(own.values()) + _PARENT_WEIGHT * inherited) / (len(own) + _PARENT_WEIGHT)

    async def _race(self, states: Sequence[ProgramState]) -> None:
        entries = []
        self._raced.update(states)
        for state in states:
            if state != self.task.best.state:
                self._joined += 1
                entries.append(
                    (f"gepa {self._joined}: {changes_words(self.task.start, state)}", state)
                )
        before = sum(len(self._known(state)) for _, state in entries)
        await self.task.race(entries)
        after = sum(len(self.task.known(state)) for _, state in entries)
        self._count(after - before, [state for _, state in entries])

    def _count(self, validations: int, states: Iterable[ProgramState]) -> None:
        self.runs += validations
        self._validations += validations
        for state in states:
            self._seen.pop(state, None)


def rewritten(state: ProgramState, texts: Mapping[str, str]) -> ProgramState:
    """Return a state with other instructions for some predictors."""
    for path, text in texts.items():
        state = with_instruction(state, path, text)
    return state


def _length(state: ProgramState) -> int:
    return sum(len(learned.instruction) for learned in state.predictors.values())
