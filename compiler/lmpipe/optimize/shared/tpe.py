"""A tree-structured Parzen estimator (TPE) over choices, based on Optuna."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lmpipe.optimize.shared.blocking_library import load_library

# The number of the chosen value of each parameter.
Point = Mapping[str, int]

SPREAD_POINTS = 6
"""So many points are spread evenly before an estimator that knows nothing chooses."""

# The search for an unknown point ends after this many draws of the estimator, then this many
# uniform ones.
_ESTIMATOR_DRAWS, _UNIFORM_DRAWS = 5, 100


def load_optuna() -> Any:
    """Import Optuna, or raise a ConfigError."""
    return load_library("optuna", optimizer="MIPROv2", extra="mipro")


class TreeParzen:
    """Chooses points of a space of choices from the scores of earlier points.

    Args:
        choices: the number of choices of each parameter.
        first: the first points to ask for.
        spread: how many points come next that are spread over the choices of each parameter as
            evenly as possible.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011, section 4;
    in the multivariate form of Falkner et al., "BOHB", arXiv 1807.01774.
    """

    def __init__(
        self,
        choices: Mapping[str, int],
        rng: random.Random,
        *,
        first: Sequence[Point] = (),
        spread: int = SPREAD_POINTS,
    ) -> None:
        self._optuna = load_optuna()
        distribution = self._optuna.distributions.CategoricalDistribution
        self._space = {name: distribution(list(range(count))) for name, count in choices.items()}
        with _quiet():
            sampler = self._optuna.samplers.TPESampler(
                seed=rng.getrandbits(32),
                multivariate=True,
                constant_liar=True,  # keeps the points of one batch apart
                n_startup_trials=1,
            )
            self._study: Any = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._choices, self._rng = dict(choices), rng
        self._first = [*first, *_spread_points(choices, spread, rng)]
        self._known: set[tuple[int, ...]] = set()
        self._waiting: list[Any] = []

    def learn(self, point: Point, score: float) -> None:
        """Learn the score of a point that was not asked for; it will not be chosen."""
        self._known.add(self._key(point))
        trial = self._optuna.trial.create_trial(
            params=dict(point), distributions=self._space, value=score
        )
        with _quiet():
            self._study.add_trial(trial)

    def ask(self, count: int) -> list[Point]:
        """Choose the next points to score; none was scored before. Call `tell` next.

        There are fewer than `count`, or none, if the space is nearly exhausted.
        """
        self._waiting = []
        with _quiet():
            while len(self._waiting) < count and (trial := self._new_trial()) is not None:
                self._known.add(self._key(trial.params))
                self._waiting.append(trial)
        return [{name: trial.params[name] for name in self._space} for trial in self._waiting]

    def tell(self, scores: Sequence[float]) -> None:
        """Learn the scores of the points of the last `ask`, in their order."""
        with _quiet():
            for trial, score in zip(self._waiting, scores, strict=True):
                self._study.tell(trial, score)
        self._waiting = []

    def _new_trial(self) -> Any:
        """Make a trial of an unknown point; None if none is found."""
        while self._first:
            point = self._first.pop(0)
            if self._key(point) not in self._known:
                return self._trial_of(point)
        for _ in range(_ESTIMATOR_DRAWS):
            trial = self._study.ask(self._space)
            if self._key(trial.params) not in self._known:
                return trial
            # A failed trial does not change the estimator, but its next draw is another one.
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        # The estimator would keep drawing points that it knows to be good.
        for _ in range(_UNIFORM_DRAWS):
            point = {name: self._rng.randrange(count) for name, count in self._choices.items()}
            if self._key(point) not in self._known:
                return self._trial_of(point)
        return None

    def _trial_of(self, point: Point) -> Any:
        self._study.enqueue_trial(dict(point))
        return self._study.ask(self._space)

    def _key(self, point: Point) -> tuple[int, ...]:
        return tuple(point[name] for name in self._space)


def _spread_points(
    choices: Mapping[str, int], number_of_points: int, rng: random.Random
) -> list[dict[str, int]]:
    """Make points in which each parameter takes all of its choices about equally often."""
    points: list[dict[str, int]] = [{} for _ in range(number_of_points)]
    for name, count in choices.items():
        order = rng.sample(range(count), count)
        column = [order[number % count] for number in range(number_of_points)]
        rng.shuffle(column)
        for point, choice in zip(points, column, strict=True):
            point[name] = choice
    return points


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's log lines and its warnings about experimental features."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
