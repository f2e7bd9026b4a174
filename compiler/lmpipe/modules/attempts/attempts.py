"""`Attempts`: the base of modules that run one program several times on the same inputs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Self, TypeVar

from lmpipe.data.example import Example
from lmpipe.errors import ConfigError, OutputError
from lmpipe.foundation.checks import check_number
from lmpipe.lm.concurrency import loop
from lmpipe.lm.scope import current_scope
from lmpipe.modules.attempts.reward import Reward, score
from lmpipe.modules.binding import count_parts
from lmpipe.modules.function import PredictFunction
from lmpipe.modules.module import Module, check_program
from lmpipe.modules.predict import Predict
from lmpipe.modules.recorded_apart import Apart, take_over
from lmpipe.modules.uses import Uses

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Attempts(Module, Generic[P, R_co]):
    """The base of modules that run one program up to `n` times on the same inputs.

    They are called like the program, whose predictors are part of theirs, below `program`. Each
    attempt is a numbered sample. An attempt whose reply cannot be read counts as failed; any other
    error is raised. Traces have the steps of the attempt that is returned only, because compiles
    learn from them, or those of all if all failed. All LM calls are counted.

    Subclasses define `_decide`.

    Attributes:
        program: what is attempted.
        n: the maximum number of attempts.
    """

    def __init__(self, program: Any, n: int) -> None:
        check_program(program, ConfigError)
        check_number(type(self).__name__, "n", n, minimum=1, integer=True)
        self.program: Module = program
        self.n = n

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
        return f"{type(self).__name__}({self.program!r}, {settings})"

    def settings(self) -> dict[str, Any]:
        """What distinguishes it from others of its class and program, as JSON."""
        return {"n": self.n}

    def identity(self) -> dict[str, Any]:
        """What distinguishes compiles with it, apart from the program, as JSON."""
        return {"class": type(self).__qualname__, **self.settings(), "code": self._code()}

    def _code(self) -> str:
        """The fingerprint of the functions that it was given; empty if there are none."""
        return ""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Attempt the program and return one prediction; the arguments are those of the program.

        Raises:
            OutputError: the first attempt's, if no reply could be read.
        """
        prediction: R_co = loop.run_sync(self._run_forward(*args, **kwargs))
        return prediction

    async def _run_forward(self, *args: Any, **kwargs: Any) -> Any:
        with Attempted(self.n, self.program, args, kwargs) as attempted:
            return await self._decide(attempted)

    async def _decide(self, attempted: Attempted) -> Any:
        """Run the attempts and return the prediction of one of them."""
        raise NotImplementedError

    def _uses(self) -> Uses:
        return {"program": self.n}

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        if self.max_calls is not None:
            return super()._count_calls(seen, embeddings=embeddings)
        # It also makes the calls of the parts that it shares with those that are counted later.
        return count_parts(self, set(seen), embeddings=embeddings)


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """What one attempt gave: a prediction, with its reward if there is one, or an error."""

    apart: Apart
    prediction: Any = None
    error: OutputError | None = None
    reward: float = 0.0
    feedback: str = ""


class Attempted:
    """The attempts of one call, which are recorded in their order when the call ends.

    Attributes:
        example: the inputs of the call.
    """

    def __init__(
        self, n: int, program: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.example = Example(**_inputs_by_name(program, args, kwargs))
        self._n, self._args, self._kwargs = n, args, kwargs
        self._around = current_scope()
        self._made: list[Apart] = []
        self._kept: Collection[Apart] | None = ()
        self._samples: dict[Apart, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        take_over(self._around, self._made, self._kept)
        answers = self._around.answers
        for apart in self._kept or ():
            if answers is not None and apart in self._samples:
                answers.put_last(self._samples[apart])  # checks are about what is returned

    def apart(self, *, traced: bool = False) -> Apart:
        """Make records for the next attempt, or for what is asked between two."""
        self._made.append(Apart.inside(self._around, traced=traced))
        return self._made[-1]

    def sample(self, number: int) -> int:
        """The number of an attempt among the samples of the whole run."""
        return self._around.sample * self._n + number

    async def run(
        self, program: Module, number: int, apart: Apart, reward: Reward[Any] | None = None
    ) -> Attempt:
        """Run the program as one of the numbered samples, and score its prediction."""
        self._samples[apart] = self.sample(number)
        with apart.scope(sample=self._samples[apart]):
            try:
                prediction = await program._acall(*self._args, **self._kwargs)
            except OutputError as error:
                return Attempt(apart, error=error)
            if reward is None:
                return Attempt(apart, prediction)
            value, feedback = await score(reward, self.example, prediction)
        return Attempt(apart, prediction, reward=value, feedback=feedback)

    async def run_all(
        self, program: Module, numbers: Iterable[int], reward: Reward[Any] | None = None
    ) -> Sequence[Attempt]:
        """Run several samples at the same time; the first error in their order is raised."""
        running = [self.run(program, number, self.apart(), reward) for number in numbers]
        ended = await asyncio.gather(*running, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in ended if isinstance(outcome, Attempt)]

    async def draw(self, program: Predict[..., Any], numbers: range, apart: Apart) -> list[Any]:
        """Draw several samples of a predictor at once, without those that cannot be read."""
        first = self.sample(numbers[0])
        with apart.scope():
            drawn = range(first, first + len(numbers))
            return await program._asamples(drawn, self._args, self._kwargs)

    @property
    def is_streamed(self) -> bool:
        """Whether a stream is told what happens."""
        return self._around.listener is not None

    def keep(self, *chosen: Apart) -> None:
        """Say whose steps the trace keeps."""
        self._kept = chosen

    def fail(self, attempts: Sequence[Attempt]) -> OutputError:
        """Keep the steps of all, as all have failed; return the first error."""
        self._kept = None
        return next(attempt.error for attempt in attempts if attempt.error is not None)


def _inputs_by_name(
    program: Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the arguments of a program's call their names, as far as its code tells them."""
    if not args:
        return dict(kwargs)
    while isinstance(program, Attempts):
        program = program.program
    called: Any = program.__wrapped__ if isinstance(program, PredictFunction) else program
    signature = inspect.signature(getattr(called, "forward", called))
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError:  # the call itself raises it too, and says what the program takes
        return dict(kwargs)
