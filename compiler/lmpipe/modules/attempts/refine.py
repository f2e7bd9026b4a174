"""`Refine`: attempts that learn from the one before."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, ParamSpec, TypeVar, overload

from lmpipe.errors import OutputError
from lmpipe.foundation.media import without_bytes
from lmpipe.lm.lm import LM
from lmpipe.modules.attempts.advice import (
    AdviseSteps,
    describe_run,
    describe_steps,
    for_each_step,
    with_advice,
    with_distinct_paths,
)
from lmpipe.modules.attempts.attempts import Attempt, Attempted
from lmpipe.modules.attempts.best_of_n import Rewarded
from lmpipe.modules.attempts.reward import Reward, reward_source
from lmpipe.modules.module import HasAsyncForward, HasForward, Module
from lmpipe.modules.predict import Predict
from lmpipe.modules.recorded_apart import Apart
from lmpipe.modules.uses import Uses
from lmpipe.signatures.signature import result_to_json

P = ParamSpec("P")
P2 = ParamSpec("P2")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Refine(Rewarded[P, R_co]):
    """Run a program again with advice until its prediction is good enough; return the best one.

    After an attempt below the threshold, the predictor `advise` is shown what each step of the
    program got and gave, how the result was scored and the feedback of the reward. Its advice is
    added to the instructions of the steps that it is for, in the next attempt only. `advise` is a
    predictor like the others: it is compiled with them. Without readable advice, the next attempt
    is another sample.

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
        self: Refine[P2, R],
        program: HasAsyncForward[P2, R],
        *,
        n: int,
        reward: Reward[R],
        threshold: float | None = None,
        advisor: LM | str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: Refine[P2, R],
        program: HasForward[P2, R],
        *,
        n: int,
        reward: Reward[R],
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
        program, names = with_distinct_paths(self.program)
        attempts: list[Attempt] = []
        advised_by: dict[Attempt, Apart] = {}
        advice: dict[str, str] = {}
        asked: Apart | None = None
        for number in range(self.n):
            attempt = await self._attempt(attempted, program, number, advice)
            attempts.append(attempt)
            if advice and asked:
                advised_by[attempt] = asked
            if self._is_good(attempt) or number + 1 == self.n:
                break
            if attempt.error is None:
                asked = attempted.apart()
                advice = await self._advice(attempted, program, names, attempt, asked, number)
        best = self._best(attempted, attempts)
        attempted.keep(best.apart, *filter(None, [advised_by.get(best)]))
        return best.prediction

    async def _attempt(
        self, attempted: Attempted, program: Module, number: int, advice: dict[str, str]
    ) -> Attempt:
        apart = attempted.apart(traced=True)
        with ExitStack() as stack:
            if advice:
                program, surrounding = with_advice(program, advice)
                stack.enter_context(surrounding)
            return await attempted.run(program, number, apart, self.reward)

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
        steps = attempt.apart.trace.steps if attempt.apart.trace else []
        with asked.scope(sample=attempted.sample(number)):
            try:
                answer = await self.advise.acall(
                    program=describe_steps(program),
                    inputs=without_bytes(result_to_json(dict(attempted.example.items()))),
                    run=describe_run(steps, names),
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
