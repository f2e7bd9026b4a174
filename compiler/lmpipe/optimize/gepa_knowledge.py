"""What GEPA knows of its candidates: where they come from, what they did, what they promise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lmpipe.evaluation.results import Row
from lmpipe.optimize.engine.task import Task
from lmpipe.optimize.shared.paired_test import PairedTest
from lmpipe.state.program_state import ProgramState

# A candidate's own validation scores count against so many of its parent's expected score.
_PARENT_WEIGHT = 6

# An example: whether it is of validation, and its position.
Place = tuple[bool, int]


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

    # --- where states come from

    def descend(self, child: ProgramState, parents: Sequence[ProgramState]) -> None:
        """Remember where a state comes from."""
        self._parents.setdefault(child, tuple(parents))

    def descends(self, state: ProgramState, ancestor: ProgramState) -> bool:
        """Whether a state is, or comes from, another one."""
        parents = self._parents.get(state, ())
        return state == ancestor or any(self.descends(parent, ancestor) for parent in parents)

    # --- what they did

    def keep(self, state: ProgramState, index: int, row: Row) -> None:
        """Keep what a state did on a training example."""
        self._train.setdefault(state, {})[index] = row

    def on_train(self, state: ProgramState) -> dict[int, Row]:
        """Return what a state itself did on training examples."""
        return self._train.get(state, {})

    def inherited(self, state: ProgramState, index: int) -> Row | None:
        """Return what the nearest ancestor that was run on a training example did with it."""
        level = self._parents.get(state, ())
        while level:
            for ancestor in level:
                if row := self.on_train(ancestor).get(index):
                    return row
            level = tuple(up for one in level for up in self._parents.get(one, ()))
        return None

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

    def val_scores(self, state: ProgramState) -> dict[int, float]:
        """Return validation scores: a state's own, or those of its nearest ancestors."""
        return {index: score for (val, index), score in self.scores(state).items() if val}

    def scores(self, state: ProgramState) -> dict[Place, float]:
        """Return the scores on all examples that a state or one of its ancestors was run on."""
        found = {(True, index): score for index, score in self.on_val(state).items()}
        found |= {(False, index): row.score.value for index, row in self.on_train(state).items()}
        for parent in self._parents.get(state, ()):
            for place, score in self.scores(parent).items():
                found.setdefault(place, score)
        return found

    # --- what they promise

    def promise(self, state: ProgramState) -> float:
        """Expect a score on all validation examples, from what a state and its parents did."""
        own, parents = self.on_val(state), self._parents.get(state, ())
        if len(own) == len(self.task.val) or not parents:
            return fmean(own.values())
        expected = max(self.promise(parent) + self._gain(state, parent) for parent in parents)
        return (sum(own.values()) + _PARENT_WEIGHT * min(1.0, expected)) / (
            len(own) + _PARENT_WEIGHT
        )

    def _gain(self, state: ProgramState, parent: ProgramState) -> float:
        """Expect a gain over a parent, as if nothing changed where the state was not run.

        What is shown to a proposer went wrong, so that some of it gets better by chance.
        """
        before = self.scores(parent)
        chance = self.test.chance([score for (val, _), score in before.items() if val])
        gain = 0.0
        for index, row in self.on_train(state).items():
            if (was := before.get((False, index))) is not None:
                gain += row.score.value - was - chance * (was < 1)
        return gain / len(self.task.train)

    def leader(self, states: Sequence[ProgramState]) -> ProgramState:
        """Return the most promising state; of equal ones the latest."""
        return max(reversed(states), key=self.promise)
