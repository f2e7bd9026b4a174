"""`Refine`: attempts that learn from the one before."""

from __future__ import annotations

from typing import Any, ParamSpec, TypeVar, overload

from lmpipe.errors import OutputError
from lmpipe.foundation.media import without_bytes
from lmpipe.lm.lm import LM
from lmpipe.modules.attempts.advice import (
    AdviseSteps,
    advised,
    describe_run,
    describe_steps,
    for_each_step,
    with_distinct_paths,
)
from lmpipe.modules.attempts.attempts import Attempt, Attempted
from lmpipe.modules.attempts.best_of_n import Rewarded
from lmpipe.modules.attempts.reward import Reward, reward_source
from lmpipe.modules.module import Module
from lmpipe.modules.predict import Predict
from lmpipe.modules.program import Program
from lmpipe.modules.recorded_apart import Apart
from lmpipe.modules.uses import Uses
from lmpipe.signatures.signature import Prediction, result_to_json
from lmpipe.state.trace import Trace

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Refine(Rewarded[P, R_co]):
    """Run a program again with advice until its prediction is good enough; return the best one.

    After an attempt below the threshold, the predictor `advise` is shown what each step of the
    program got and gave, how the result was scored and the feedback of the reward. Its advice is
    added to the instructions of the steps that it is for, until there is new advice; nothing of it
    is left after the call. `advise` is a predictor like the others: it is compiled with them.

    Args:
        program: what to attempt.
        n: the maximum number of attempts, 1 or more.
        reward: scores a prediction; see `BestOfN`. The feedback of a `Score`, and the code of the
            reward, tell `advise` what is wanted.
        threshold: the first attempt with this reward or a higher one is returned; None makes all
            attempts.
        advisor: the LM that gives advice, or its name; None is the run's LM.

    Raises:
        ConfigError: if an argument is of the wrong kind or out of range.
    """

    @overload
    def __init__(
        self: Refine[..., Prediction],
        program: Predict[..., Prediction],
        *,
        n: int,
        reward: Reward[Prediction],
        threshold: float | None = None,
        advisor: LM | str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        program: Program[P, R_co],
        *,
        n: int,
        reward: Reward[R_co],
        threshold: float | None = None,
        advisor: LM | str | None = None,
    ) -> None: ...
    def __init__(
        self,
        program: Any,
        *,
        n: int,
        reward: Any,
        threshold: float | None = None,
        advisor: LM | str | None = None,
    ) -> None:
        super().__init__(program, n, reward, threshold)
        self.advise = Predict(AdviseSteps, lm=advisor)

    async def _decide(self, attempted: Attempted) -> Any:
        with with_distinct_paths(self.program) as (program, names):
            attempts, advised_by = await self._attempts(attempted, program, names)
        best = self._best(attempted, attempts)
        attempted.keep(best.apart, *filter(None, [advised_by.get(best)]))
        return best.prediction

    async def _attempts(
        self, attempted: Attempted, program: Module, names: dict[str, str]
    ) -> tuple[list[Attempt], dict[Attempt, Apart]]:
        """Attempt the program until it is good; return the attempts, and where advice led to one.

        After an attempt that failed or without new advice, the last advice stands.
        """
        attempts: list[Attempt] = []
        advised_by: dict[Attempt, Apart] = {}
        advice: dict[str, str] = {}
        source: Apart | None = None
        for number in range(self.n):
            attempt = await self._attempt(attempted, program, number, advice)
            attempts.append(attempt)
            if source is not None:
                advised_by[attempt] = source
            if self._is_good(attempt) or number + 1 == self.n:
                break
            if attempt.error is None:
                asked = attempted.apart()
                if found := await self._advice(attempted, program, names, attempt, asked, number):
                    advice, source = found, asked
        return attempts, advised_by

    async def _attempt(
        self, attempted: Attempted, program: Module, number: int, advice: dict[str, str]
    ) -> Attempt:
        apart = attempted.apart(traced=True)
        with advised(program, advice) as told:
            return await attempted.run(told, number, apart, self.reward)

    async def _advice(
        self,
        attempted: Attempted,
        program: Module,
        names: dict[str, str],
        attempt: Attempt,
        asked: Apart,
        number: int,
    ) -> dict[str, str]:
        """Ask for advice by the names of steps; there is none if the reply cannot be read."""
        trace = attempt.apart.trace or Trace()
        with asked.scope(sample=attempted.sample(number)):
            try:
                answer = await self.advise.acall(
                    program=describe_steps(program),
                    inputs=without_bytes(result_to_json(dict(attempted.example.items()))),
                    run=describe_run(trace, names),
                    result=without_bytes(result_to_json(attempt.prediction)),
                    criterion=reward_source(self.reward),
                    score=attempt.reward,
                    target="as high as possible" if self.threshold is None else str(self.threshold),
                    feedback=attempt.feedback,
                )
            except OutputError:
                return {}
        return for_each_step(answer.advice, program)

    def _uses(self) -> Uses:
        return {**super()._uses(), "advise": self.n - 1}
