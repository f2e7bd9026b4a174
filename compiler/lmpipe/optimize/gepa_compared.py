"""The examples on which the `gepa` package compares candidates, to merge them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmpipe.optimize.gepa_knowledge import Place

# So many training examples at most.
_MOST_TRAINING = 300


class ComparedExamples:
    """What the package calls the validation examples and their evaluation policy.

    They are the first block of validation examples and those of training; what a candidate was
    not run on, it is taken to do as its ancestors did.

    Args:
        first_block: the positions of the validation examples.
        train: the number of training examples.
    """

    def __init__(self, first_block: Sequence[int], train: int) -> None:
        self._block = len(first_block)
        self.places: list[Place] = [
            *((True, index) for index in first_block),
            *((False, index) for index in range(min(_MOST_TRAINING, train))),
        ]

    def get_eval_batch(self, loader: Any, state: Any, target_program_idx: Any = None) -> list[int]:
        """Return the numbers of the examples on which a candidate is compared: all of them."""
        return list(range(len(self.places)))

    def get_seed_eval_batch(self, loader: Any) -> list[int]:
        """Return the numbers of those that the start is run on: the first block."""
        return list(range(self._block))

    def get_best_program(self, state: Any) -> int:
        """Return the number of the candidate with the best mean."""
        means = state.program_full_scores_val_set
        return max(range(len(means)), key=lambda number: means[number])

    def get_valset_score(self, program_idx: int, state: Any) -> float:
        """Return the mean of a candidate."""
        return float(state.program_full_scores_val_set[program_idx])
