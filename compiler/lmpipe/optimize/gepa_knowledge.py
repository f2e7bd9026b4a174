"""What GEPA knows of its candidates: where they come from, what they did, what they promise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.paired_test import PairedTest, at_least
from lmpipe.state.program_state import ProgramState

# A candidate's own validation scores count against so many of its parent's expected score.
_PARENT_WEIGHT = 6

# A state is a parent only if it is better than the most promising one on more examples than come
# by chance with this probability.
_LUCK = 0.2

# An example: whether it is of validation, and its position.
Place = tuple[bool, int]


class Seen(NamedTuple):
    """A score on an example, and the state whose run it is of."""

    score: float
    by: ProgramState


@dataclass
class Knowledge:
    """What is known of the states of a search.

    A state that was not run on an example is taken to do what its nearest ancestor did.
    """

    task: Task
    test: PairedTest
    _parents: dict[ProgramState, tuple[ProgramState, ...]] = field(default_factory=dict)
    _train: dict[ProgramState, dict[int, Row]] = field(default_factory=dict)
    _val: dict[ProgramState, dict[int, float]] = field(default_factory=dict)
    # What follows from the rows; emptied when there is a new one.
    _seen: dict[ProgramState, dict[Place, Seen]] = field(default_factory=dict)
    _promises: dict[ProgramState, float] = field(default_factory=dict)

    # --- where states come from

    def descend(self, child: ProgramState, parents: Sequence[ProgramState]) -> None:
        """Remember where a state comes from."""
        self._parents.setdefault(child, tuple(parents))
        self._forget()

    def descends(self, state: ProgramState, ancestor: ProgramState) -> bool:
        """Whether a state is, or comes from, another one."""
        parents = self._parents.get(state, ())
        return state == ancestor or any(self.descends(parent, ancestor) for parent in parents)

    # --- what they did

    def keep(self, state: ProgramState, index: int, row: Row) -> None:
        """Keep what a state did on a training example."""
        self._train.setdefault(state, {})[index] = row
        self._forget()

    def on_train(self, state: ProgramState) -> dict[int, Row]:
        """Return what a state itself did on training examples."""
        return self._train.get(state, {})

    def past(self, state: ProgramState, index: int) -> list[float]:
        """Return the scores of a state and its ancestors on a training example, nearest first."""
        found, level = [], [state]
        while level:
            found += [row.score.value for one in level if (row := self.on_train(one).get(index))]
            level = [up for one in level for up in self._parents.get(one, ())]
        return found

    def on_val(self, state: ProgramState) -> dict[int, float]:
        """Return the validation scores of a state's own runs."""
        if state not in self._val:
            rows = self.task.known(state)
            self._val[state] = {index: row.score.value for index, row in rows.items()}
        return self._val[state]

    def changed(self, states: Iterable[ProgramState]) -> None:
        """Look again at the validation scores of some states."""
        for state in states:
            self._val.pop(state, None)
        self._forget()

    def _forget(self) -> None:
        self._seen.clear()
        self._promises.clear()

    def val_scores(self, state: ProgramState) -> dict[int, float]:
        """Return validation scores: a state's own, or those of its nearest ancestors."""
        return {index: seen.score for (val, index), seen in self.seen(state).items() if val}

    def seen(self, state: ProgramState) -> dict[Place, Seen]:
        """Return the scores on all examples that a state or one of its ancestors was run on."""
        if state in self._seen:
            return self._seen[state]
        found = self._seen[state] = {
            (True, index): Seen(score, state) for index, score in self.on_val(state).items()
        }
        for index, row in self.on_train(state).items():
            found[False, index] = Seen(row.score.value, state)
        for parent in self._parents.get(state, ()):
            for place, seen in self.seen(parent).items():
                found.setdefault(place, seen)
        return found

    def front(self, states: Sequence[ProgramState]) -> dict[Place, set[int]]:
        """Return the numbers of the states that are best on each example, as far as it was seen.

        A state that is better than the most promising one on no more examples than by chance is
        left out.
        """
        if not states:
            return {}
        seen = {number: self.seen(state) for number, state in enumerate(states)}
        first = states.index(self.leader(states))
        taken = [
            number
            for number in seen
            if number == first or self._stands_out(seen[number], seen[first])
        ]
        front: dict[Place, set[int]] = {}
        for place in sorted({place for number in taken for place in seen[number]}):
            scores = {
                number: seen[number][place].score for number in taken if place in seen[number]
            }
            best = max(scores.values())
            front[place] = {number for number, score in scores.items() if score == best}
        return front

    def _stands_out(self, seen: dict[Place, Seen], leader: dict[Place, Seen]) -> bool:
        apart = [
            (leader[place].score, one.score)
            for place, one in seen.items()
            if place in leader and leader[place].by != one.by
        ]
        better = sum(after > before for before, after in apart)
        chance = self.test.loss([one.score for (val, _), one in leader.items() if val])
        return better > 0 and at_least(better, len(apart), chance) <= _LUCK

    # --- what they promise

    def promise(self, state: ProgramState) -> float:
        """Expect a score on all validation examples, from what a state and its parents did."""
        if state not in self._promises:
            self._promises[state] = self._promise(state)
        return self._promises[state]

    def _promise(self, state: ProgramState) -> float:
        own, parents = self.on_val(state), self._parents.get(state, ())
        if len(own) == len(self.task.val) or not parents:
            return fmean(own.values() or [0.0])
        expected = max(self.promise(parent) + self._gain(state, parent) for parent in parents)
        return (sum(own.values()) + _PARENT_WEIGHT * min(1.0, expected)) / (
            len(own) + _PARENT_WEIGHT
        )

    def _gain(self, state: ProgramState, parent: ProgramState) -> float:
        """Expect a gain over a parent, as if nothing changed where the state was not run.

        What is shown to a proposer went wrong, so that some of it gets better by chance.
        """
        before = self.seen(parent)
        chance = self.test.chance([seen.score for (val, _), seen in before.items() if val])
        gain = 0.0
        for index, row in self.on_train(state).items():
            if (was := before.get((False, index))) is not None:
                gain += row.score.value - was.score - chance * (was.score < 1)
        return gain / len(self.task.train)

    def leader(self, states: Sequence[ProgramState]) -> ProgramState:
        """Return the most promising state; of equal ones the latest."""
        return max(reversed(states), key=self.promise)
