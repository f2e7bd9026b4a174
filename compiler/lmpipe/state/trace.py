"""What happened: the predictor calls of one run of a program, and the scope in which they ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmpipe.lm.usage import Usage


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one predictor.

    Args:
        predictor: its path in the program.
        inputs: input values as JSON.
        outputs: output values as JSON; empty if the call failed.
        replies: the raw texts that came back, the last one being the one that was used; more
            than one where a reply had to be asked for again.
        usage: tokens over all replies.
        seconds: time that fresh calls took.
        cached: whether every reply came from the cache.
        repaired: whether the outputs could only be read after their JSON was repaired.
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
        return {
            "predictor": self.predictor,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "replies": list(self.replies),
            "usage": self.usage.to_json(),
            "seconds": self.seconds,
            "cached": self.cached,
            "repaired": self.repaired,
            "error": self.error,
        }


@dataclass(slots=True)
class Trace:
    """The steps of one run, in the order in which they ended."""

    steps: list[Step] = field(default_factory=list)

    def of(self, predictor: str) -> list[Step]:
        """The steps of one predictor."""
        return [step for step in self.steps if step.predictor == predictor]

    @property
    def calls(self) -> int:
        """LM calls, those asked again included."""
        return sum(len(step.replies) for step in self.steps)
