"""`Trace`: the predictor calls of one run of a program."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmpipe.data.identity import ExampleIdentity
    from lmpipe.state.usage import Usage


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one predictor.

    Args:
        predictor: its path in the program.
        inputs: input values as JSON.
        outputs: output values as JSON; empty if the call failed.
        replies: the raw texts of all replies; the last one was used. There is more than one if
            the LM was asked to correct a reply.
        usage: the tokens of all replies.
        seconds: the time that calls to the LM took; replies from the cache take none.
        cached: whether every reply came from the cache.
        repaired: whether the JSON of the outputs had to be repaired.
        error: why the call failed, or the empty string.
    """

    predictor: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    replies: tuple[str, ...]
    usage: Usage
    seconds: float
    cached: bool
    repaired: bool = False
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values, "replies": list(self.replies), "usage": self.usage.to_json()}


@dataclass(slots=True)
class Trace:
    """The steps of one run, in the order in which they ended.

    Args:
        steps: the predictor calls.
        example: the example that the program ran on, if that is known.
    """

    steps: list[Step] = field(default_factory=list)
    example: ExampleIdentity | None = None

    def of(self, predictor: str) -> list[Step]:
        """List the steps of one predictor."""
        return [step for step in self.steps if step.predictor == predictor]

    def extend(self, other: Trace) -> None:
        """Add the steps of another trace, as those of a run inside of this one."""
        self.steps.extend(other.steps)

    @property
    def calls(self) -> int:
        """The number of LM calls, corrections included."""
        return sum(len(step.replies) for step in self.steps)
