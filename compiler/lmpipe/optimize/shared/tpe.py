"""A tree-structured Parzen estimator over choices, on Optuna."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lmpipe.optimize.shared.blocking_library import load_library

# The number of the choice of each parameter.
Point = Mapping[str, int]

# So many points are spread evenly before the estimator chooses.
_SPREAD = 6
# So many draws that are known, and so many random ones after those, end the search for a new one.
_TRIES, _RANDOM = 5, 100


def load_optuna() -> Any:
    """The package.

    Raises:
        ConfigError: if it is not installed.
    """
    return load_library("optuna", optimizer="MIPROv2", extra="mipro")


class TreeParzen:
    """Chooses points of a space of choices, from what earlier ones scored.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011, section 4;
    in the multivariate form of Falkner et al., "BOHB", arXiv 1807.01774. The first six points
    are spread over the choices of each parameter as evenly as they can be.

    Args:
        choices: how many choices each parameter has.
        rng: its randomness.

    Raises:
        ConfigError: if Optuna is not installed.
    """

    def __init__(self, choices: Mapping[str, int], rng: random.Random) -> None:
        self._optuna = load_optuna()
        distribution = self._optuna.distributions.CategoricalDistribution
        self._space = {name: distribution(list(range(count))) for name, count in choices.items()}
        with _quiet():
            sampler = self._optuna.samplers.TPESampler(
                seed=rng.getrandbits(32),
                multivariate=True,
                constant_liar=True,  # points of one batch keep away from each other
                n_startup_trials=1,
            )
            self._study: Any = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._choices, self._rng = dict(choices), rng
        self._first = _spread(choices, rng)
        self._known: set[tuple[int, ...]] = set()
        self._waiting: list[Any] = []

    def learn(self, point: Point, score: float) -> None:
        """What a point scores that was not asked for; it will not be."""
        self._known.add(self._key(point))
        trial = self._optuna.trial.create_trial(
            params=dict(point), distributions=self._space, value=score
        )
        with _quiet():
            self._study.add_trial(trial)

    def ask(self, count: int) -> list[Point]:
        """The next points to score, none of them known; `tell` comes next.

        Returns:
            `count` points; fewer, or none, where hardly a new one is left.
        """
        self._waiting = []
        with _quiet():
            while len(self._waiting) < count and (trial := self._new()) is not None:
                self._known.add(self._key(trial.params))
                self._waiting.append(trial)
        return [{name: trial.params[name] for name in self._space} for trial in self._waiting]

    def tell(self, scores: Sequence[float]) -> None:
        """What the points asked for last scored."""
        with _quiet():
            for trial, score in zip(self._waiting, scores, strict=True):
                self._study.tell(trial, score)
        self._waiting = []

    def _new(self) -> Any:
        """A trial of a point that is not known, or None."""
        while self._first:
            point = self._first.pop(0)
            if self._key(point) not in self._known:
                return self._trial(point)
        for _ in range(_TRIES):
            trial = self._study.ask(self._space)
            if self._key(trial.params) not in self._known:
                return trial
            # Failed trials teach the estimator nothing; the next one is another draw.
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        # It would go on to draw what it knows to be good.
        for _ in range(_RANDOM):
            point = {name: self._rng.randrange(count) for name, count in self._choices.items()}
            if self._key(point) not in self._known:
                return self._trial(point)
        return None

    def _trial(self, point: Point) -> Any:
        self._study.enqueue_trial(dict(point))
        return self._study.ask(self._space)

    def _key(self, point: Point) -> tuple[int, ...]:
        return tuple(point[name] for name in self._space)


def _spread(choices: Mapping[str, int], rng: random.Random) -> list[dict[str, int]]:
    """Points in which each parameter takes all its choices equally often, as far as it can."""
    points: list[dict[str, int]] = [{} for _ in range(_SPREAD)]
    for name, count in choices.items():
        order = rng.sample(range(count), count)
        column = [order[number % count] for number in range(_SPREAD)]
        rng.shuffle(column)
        for point, choice in zip(points, column, strict=True):
            point[name] = choice
    return points


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warnings that something is experimental."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
