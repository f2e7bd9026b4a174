"""`BestOfN`: the prediction with the highest reward of several attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ParamSpec, TypeVar, overload

from lmpipe.foundation.checks import check_number
from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.modules.attempts.attempts import Attempt, Attempted, Attempts
from lmpipe.modules.attempts.reward import (
    Reward,
    check_reward,
    reward_calls,
    reward_name,
)
from lmpipe.modules.module import Module
from lmpipe.modules.predict import Predict
from lmpipe.modules.program import Program
from lmpipe.modules.uses import Uses
from lmpipe.signatures.signature import Prediction

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Rewarded(Attempts[P, R_co]):
    """The base of modules that compare attempts by a reward; see `BestOfN`."""

    def __init__(self, program: Any, n: int, reward: Any, threshold: float | None) -> None:
        super().__init__(program, n)
        check_reward(type(self).__name__, reward)
        check_number(type(self).__name__, "threshold", threshold, optional=True)
        self.reward = reward
        self.threshold = threshold

    def settings(self) -> dict[str, Any]:
        return {"n": self.n, "reward": reward_name(self.reward), "threshold": self.threshold}

    def _code(self) -> str:
        reward = self.reward
        return code_fingerprint(type(reward) if isinstance(reward, Module) else reward)

    def _is_good(self, attempt: Attempt) -> bool:
        good = self.threshold is not None and attempt.reward >= self.threshold
        return good and attempt.error is None

    def _best(self, attempted: Attempted, attempts: Sequence[Attempt]) -> Attempt:
        """Choose the attempt with the highest reward, the earliest of equal ones.

        Raises:
            OutputError: the first attempt's, if all failed.
        """
        scored = [attempt for attempt in attempts if attempt.error is None]
        if not scored:
            raise attempted.fail(attempts)
        return max(scored, key=lambda attempt: attempt.reward)

    def _uses(self) -> Uses:
        return {**super()._uses(), "reward": self.n}

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        counted = super()._count_calls(seen, embeddings=embeddings)
        if embeddings or self.max_calls is not None:
            return counted
        return counted + self.n * reward_calls(self.reward)


class BestOfN(Rewarded[P, R_co]):
    """Run a program several times and return the prediction with the highest reward.

    The first attempt is the program's ordinary run, and the others are further samples of it. Of
    equal rewards, that of the earliest attempt wins. Attempts run at the same time, or one after
    the other if there is a threshold, so that nothing is asked after an attempt that is good
    enough.

    Args:
        program: what to attempt.
        n: the number of attempts, 1 or more.
        reward: scores a prediction, the higher the better: a function of the inputs (which are
            read like a dict or by attribute) and the prediction, sync or async; a metric that
            needs no labels; or a program, which is then compiled too. It returns a boolean, a
            number or a `Score`.
        threshold: the first attempt with this reward or a higher one is returned; None compares
            all attempts.

    Raises:
        ConfigError: if an argument is of the wrong kind or out of range.
    """

    @overload
    def __init__(
        self: BestOfN[..., Prediction],
        program: Predict[..., Prediction],
        *,
        n: int,
        reward: Reward[Prediction],
        threshold: float | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        program: Program[P, R_co],
        *,
        n: int,
        reward: Reward[R_co],
        threshold: float | None = None,
    ) -> None: ...
    def __init__(
        self, program: Any, *, n: int, reward: Any, threshold: float | None = None
    ) -> None:
        super().__init__(program, n, reward, threshold)

    async def _decide(self, attempted: Attempted) -> Any:
        if self.threshold is None:
            attempts = await attempted.run_all(self.program, range(self.n), self.reward)
        else:
            attempts = await self._until_good(attempted)
        best = self._best(attempted, attempts)
        attempted.keep(best.apart)
        return best.prediction

    async def _until_good(self, attempted: Attempted) -> list[Attempt]:
        attempts: list[Attempt] = []
        for number in range(self.n):
            apart = attempted.apart()
            attempts.append(await attempted.run(self.program, number, apart, self.reward))
            if self._is_good(attempts[-1]):
                break
        return attempts
