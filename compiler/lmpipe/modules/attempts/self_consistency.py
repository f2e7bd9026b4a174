"""`SelfConsistency`: the answer that most samples of a program agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, overload

from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.modules.attempts.attempts import Attempted, Attempts
from lmpipe.modules.predict import Predict
from lmpipe.modules.program import Program
from lmpipe.modules.voting import majority_index
from lmpipe.signatures.signature import Prediction, result_to_json
from lmpipe.state.trace import Trace

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class SelfConsistency(Attempts[P, R_co]):
    """Sample a program several times at once and return the answer that most samples agree on.

    Use it with a program that reasons, such as a `ChainOfThought`. An LM that decodes greedily is
    sampled at temperature 0.7. Samples are compared as `lmpipe.majority` does; one that cannot be
    read has no vote.

    Source: Wang et al. 2022 (arXiv 2203.11171), section 2.

    Args:
        program: what to sample.
        n: the number of samples, 1 or more.
        field: the output that samples are compared by; None compares all outputs except a
            `reasoning`.
        normalize: makes the same value of answers that mean the same; see `lmpipe.majority`.

    Raises:
        ConfigError: if an argument is of the wrong kind or out of range.
    """

    @overload
    def __init__(
        self: SelfConsistency[..., Prediction],
        program: Predict[..., Prediction],
        *,
        n: int,
        field: str | None = None,
        normalize: Callable[[Any], object] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        program: Program[P, R_co],
        *,
        n: int,
        field: str | None = None,
        normalize: Callable[[Any], object] | None = None,
    ) -> None: ...
    def __init__(
        self,
        program: Any,
        *,
        n: int,
        field: str | None = None,
        normalize: Callable[[Any], object] | None = None,
    ) -> None:
        super().__init__(program, n)
        self.field = field
        self.normalize = normalize

    def settings(self) -> dict[str, Any]:
        name = None if self.normalize is None else getattr(self.normalize, "__qualname__", "")
        return {"n": self.n, "field": self.field, "normalize": name}

    def _code(self) -> str:
        return "" if self.normalize is None else code_fingerprint(self.normalize)

    async def _decide(self, attempted: Attempted) -> Any:
        # From 1, because sample 0 is the program's ordinary run, which may be greedy.
        numbers = range(1, self.n + 1)
        program = self.program
        # A stream tells the samples apart, so they are asked for one by one.
        if isinstance(program, Predict) and program.draws_at_once and not attempted.is_streamed:
            return await self._drawn(attempted, program, numbers)
        attempts = await attempted.run_all(program, numbers)
        voters = [attempt for attempt in attempts if attempt.error is None]
        if not voters:
            raise attempted.fail(attempts)
        chosen = voters[self._vote([attempt.prediction for attempt in voters])]
        attempted.keep(chosen.apart)
        return chosen.prediction

    async def _drawn(self, attempted: Attempted, program: Predict[..., Any], numbers: range) -> Any:
        """Vote on the samples of a predictor, which one request draws if the server can."""
        apart = attempted.apart()
        attempted.keep(apart)  # all steps, if no reply can be read
        predictions = await attempted.draw(program, numbers, apart)
        chosen = predictions[self._vote(predictions)]
        if apart.trace is not None:
            _keep_step_of(chosen, apart.trace)
        return chosen

    def _vote(self, predictions: Sequence[Any]) -> int:
        return majority_index(predictions, field=self.field, normalize=self.normalize)


def _keep_step_of(prediction: Any, trace: Trace) -> None:
    """Leave only the first step that gave this prediction in a trace of samples."""
    outputs = result_to_json(prediction)
    trace.steps[:] = [step for step in trace.steps if step.outputs == outputs][:1]
