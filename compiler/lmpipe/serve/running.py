"""Running a program for one request: a slot, a deadline, a budget of calls, and what it took."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import inf
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lmpipe.errors import RunTimeoutError
from lmpipe.foundation.shorten import shorten
from lmpipe.foundation.time_limits import within
from lmpipe.lm.current import overriding
from lmpipe.lm.metering import metering
from lmpipe.lm.scope import scope
from lmpipe.lm.spend import Charge
from lmpipe.modules.observed import predictor_paths
from lmpipe.modules.stream import Stream
from lmpipe.serve.deployment import ServedRun
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.problems import FieldProblem, Problem, Refused

_OF_SERVERS = (HTTPException, ClientDisconnect)
TIMEOUT_HEADER, CALLS_HEADER = "lmpipe-timeout", "lmpipe-max-calls"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run may take: seconds and LM calls; None means unlimited."""

    seconds: float | None = None
    calls: int | None = None

    @staticmethod
    def of(headers: Mapping[str, str], options: ServeOptions) -> RunLimits:
        """Return the limits that a request asks for, within those of the server.

        Raises:
            Refused: if a header is not a number above 0.
        """
        seconds = _number(headers, TIMEOUT_HEADER, float)
        calls = _number(headers, CALLS_HEADER, int)
        return RunLimits(_smaller(seconds, options.deadline), _smaller(calls, options.max_calls))


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a run, and the charges of its LM calls."""

    result: Any
    charges: Sequence[Charge]

    @property
    def prompt_tokens(self) -> int:
        """The tokens of all prompts."""
        return sum(usage.prompt_tokens for _, _, _, usage, _, _ in self.charges)

    @property
    def completion_tokens(self) -> int:
        """The tokens of all replies."""
        return sum(usage.completion_tokens for _, _, _, usage, _, _ in self.charges)

    def usage(self) -> dict[str, int]:
        """Return what the run took: LM calls, those that were not cached, tokens."""
        return {
            "calls": len(self.charges),
            "fresh_calls": sum(not cached for _, _, _, _, cached, _ in self.charges),
            "tokens": self.prompt_tokens + self.completion_tokens,
        }


class _ProgramStoppedError(Exception):
    """A program raised what a server or an event loop would take as meant for itself."""


class Slots:
    """The runs that are in flight, up to a limit.

    They are counted on one event loop, so nothing is locked.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    @property
    def free(self) -> int:
        """How many more runs may begin now."""
        return self.limit - self.taken

    @contextmanager
    def take(self, count: int = 1) -> Iterator[None]:
        """Hold slots in a block.

        Raises:
            Refused: if they are not free; the client may send the request again.
        """
        if count > self.free:
            raise Refused(
                Problem(
                    429,
                    "busy",
                    f"the server runs {self.taken} of at most {self.limit} programs at the same "
                    "time",
                    "send the request again after the seconds in Retry-After",
                    retry_after=1.0,
                )
            )
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count


async def run(served: ServedRun, inputs: Mapping[str, Any], limits: RunLimits) -> Answer:
    """Run a program once.

    Raises:
        RunTimeoutError: if it takes longer than the limits allow.
        CallLimitError: if it makes more LM calls.
        Exception: whatever else the program raises.
    """
    if served.seen is not None:
        served.seen.see(inputs)
    budget = nullcontext() if limits.calls is None else scope(max_calls=limits.calls)
    with overriding(served.settings), budget, metering() as charges:
        result = await within(
            limits.seconds, _contained(served.program, inputs), late=lambda: _late(limits)
        )
    return Answer(result, charges)


def stream(served: ServedRun, inputs: Mapping[str, Any], limits: RunLimits) -> Stream[Answer]:
    """Run a program like `run`, and tell its outputs while the LM writes them."""
    return Stream(lambda: run(served, inputs, limits), predictor_paths(served.program))


async def _contained(program: Any, inputs: Mapping[str, Any]) -> Any:
    """Run a program; what it raises must neither stop the server nor pass for the server's own."""
    try:
        return await program.acall(**inputs)
    except BaseException as error:
        task = asyncio.current_task()
        cancelled = isinstance(error, asyncio.CancelledError) and task and task.cancelling()
        taken = not isinstance(error, Exception) or isinstance(error, _OF_SERVERS)
        if cancelled or isinstance(error, GeneratorExit) or not taken:
            raise
        raise _ProgramStoppedError(f"the program raised {error!r}") from error


def _late(limits: RunLimits) -> RunTimeoutError:
    return RunTimeoutError(
        f"the run took longer than the {limits.seconds:g} seconds of its request"
    )


def _number(headers: Mapping[str, str], name: str, kind: type[float] | type[int]) -> Any:
    text = headers.get(name)
    if text is None:
        return None
    try:
        number = kind(text)
        if not 0 < number < inf:
            raise ValueError
    except ValueError:
        what = "a whole number above 0" if kind is int else "seconds above 0, such as 2.5"
        wrong = FieldProblem(name, f"is {shorten(text, 40)!r}", f"send {what}, or leave it out")
        raise wrong.refusal(400, "invalid-header", f"the header {name} is wrong") from None
    return number


def _smaller(wanted: Any, limit: Any) -> Any:
    return min((item for item in (wanted, limit) if item is not None), default=None)
