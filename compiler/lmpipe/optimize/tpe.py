"""A tree-structured Parzen estimator over choices, on Optuna."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lmpipe.errors import ConfigError

Point = Mapping[str, int]


class TreeParzen:
    """Chooses points of a space of choices, from what earlier ones scored.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011, section 4;
    in the multivariate form of Falkner et al., "BOHB", arXiv 1807.01774.

    Args:
        choices: how many choices each parameter has.
        rng: its randomness.

    Raises:
        ConfigError: if Optuna is not installed.
    """

    def __init__(self, choices: Mapping[str, int], rng: random.Random) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError("MIPROv2 needs Optuna: pip install 'lmpipe[mipro]'") from error
        self._space: dict[str, Any] = {
            name: optuna.distributions.CategoricalDistribution(list(range(count)))
            for name, count in choices.items()
        }
        with _quiet():
            sampler = optuna.samplers.TPESampler(
                seed=rng.getrandbits(32), multivariate=True, n_startup_trials=6
            )
            self._study: Any = optuna.create_study(direction="maximize", sampler=sampler)
        self._waiting: list[Any] = []

    def ask(self, count: int) -> list[Point]:
        """The next points to score; `tell` comes next."""
        with _quiet():
            self._waiting = [self._study.ask(self._space) for _ in range(count)]
        return [dict(trial.params) for trial in self._waiting]

    def tell(self, scores: Sequence[float]) -> None:
        """What the points asked for last scored."""
        with _quiet():
            for trial, score in zip(self._waiting, scores, strict=True):
                self._study.tell(trial, score)
        self._waiting = []


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines and its warnings that something is experimental."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
