"""The mini-batches of GEPA: training examples that go wrong, as far as that is known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from lmpipe.optimize.gepa_knowledge import Knowledge
from lmpipe.state.program_state import ProgramState


@dataclass
class MiniBatches:
    """Chooses training examples.

    Args:
        known: what is known of the candidates.
        rng: draws among examples of which the same is known.
        size: the number of examples in a mini-batch.
    """

    known: Knowledge
    rng: random.Random
    size: int
    _uses: Counter[tuple[ProgramState, int]] = field(default_factory=Counter)

    def choose(self, parent: ProgramState, taken: Iterable[int]) -> list[int]:
        """Choose examples to reflect on, others than those that are taken, as far as there are.

        What the parent was run on costs nothing to see again, so it comes first; then what went
        wrong with its ancestors, then what is unknown, and then what went right with them; of
        these, what went wrong more often. An example serves a parent twice before the next ones
        do, once if nothing was learned from it. What the parent is known to do right comes last.
        """
        chosen = self.in_order(parent, taken)[: self.size]
        self._uses.update((parent, index) for index in chosen)
        return chosen

    def learned_nothing(self, parent: ProgramState, indices: Iterable[int]) -> None:
        """Let other examples come first for a parent."""
        self._uses.update((parent, index) for index in indices)

    def in_order(self, parent: ProgramState, taken: Iterable[int]) -> list[int]:
        """Return the examples that are not taken, in the order in which `choose` takes them."""
        every = range(len(self.known.task.train))
        free = set(every) - set(taken)
        if len(free) < self.size:
            free = set(every)

        def rank(index: int) -> tuple[bool, int, int, float]:
            past, turns = self.known.past(parent, index), self._uses[parent, index] // 2
            if not past:
                return False, turns, 2, 0.0
            own, wrong = index in self.known.on_train(parent), past[0] < 1
            return own and not wrong, turns, (not own) if wrong else 3, fmean(past)

        return sorted(self.rng.sample(sorted(free), len(free)), key=rank)
