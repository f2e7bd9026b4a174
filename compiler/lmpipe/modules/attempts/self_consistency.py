"""`SelfConsistency`: the answer that most samples of a program agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from lmpipe.modules.attempts.attempts import Attempted, Attempts
from lmpipe.modules.module import HasAsyncForward, HasForward
from lmpipe.modules.voting import majority_index

P = ParamSpec("P")
P2 = ParamSpec("P2")
R = TypeVar("R")
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
        self: SelfConsistency[P2, R],
        program: HasAsyncForward[P2, R],
        *,
        n: int,
        field: str | None = None,
        normalize: Callable[[Any], object] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: SelfConsistency[P2, R],
        program: HasForward[P2, R],
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

    async def _decide(self, attempted: Attempted) -> Any:
        # From 1, because sample 0 is the program's ordinary run, which may be greedy.
        attempts = await attempted.run_all(self.program, range(1, self.n + 1))
        voters = [attempt for attempt in attempts if attempt.error is None]
        if not voters:
            raise attempted.fail(attempts)
        predictions = [attempt.prediction for attempt in voters]
        chosen = voters[majority_index(predictions, field=self.field, normalize=self.normalize)]
        attempted.keep(chosen.apart)
        return chosen.prediction
