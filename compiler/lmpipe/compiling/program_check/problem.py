"""`Problem`: something in a program that will fail, or is likely to be a mistake."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

ProblemKind = Literal[
    "program", "unreached", "call", "unused", "data", "metric", "tool", "context", "recipe"
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a program.

    Args:
        kind: what is wrong: the `program` as a whole, a predictor that is never reached
            (`unreached`), a `call` of a predictor, a field that is `unused`, the `data`, the
            `metric`, a `tool`, a prompt near the `context` of its LM, or the `recipe`.
        place: the predictor's path, the split, the metric or the tool.
        message: what is wrong and what to do, in one line.
    """

    kind: ProblemKind
    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
