"""What a program's stream tells beside the outputs: what its predictors and their LMs are doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from lmpipe.state.usage import Usage


@dataclass(frozen=True, slots=True)
class Partial:
    """An output that is being written; the stream of a program yields such pieces.

    Args:
        predictor: the path of the predictor.
        call: the number of this call in the run, from 0; a predictor may be called repeatedly.
        attempt: the number of the attempt, from 0; after an invalid reply there is another one.
        field: the output's name.
        text: the text received so far, as the LM wrote it.
        delta: the text received since the last piece.
        value: the output in its type once it is done. Before, the text so far for text, the
            items so far for a list or an object, and None for other types.
        done: whether the output is complete and valid.
    """

    predictor: str
    call: int
    attempt: int
    field: str
    text: str
    delta: str
    value: Any
    done: bool = False
    kind: ClassVar[Literal["partial"]] = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a call of a predictor.

    Args:
        predictor: the path of the predictor.
        call: the number of this call in the run, from 0.
        attempt: the number of the question, from 0; after an invalid reply there is another one.
    """

    predictor: str
    call: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Event):
    """The predictor asked its LM.

    Args:
        lm: the LM's model.
    """

    lm: str
    kind: ClassVar[Literal["asked"]] = "asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Event):
    """The LM is asked again: its server was unavailable, or its reply cannot be used.

    Args:
        reason: why, in words.
        wait: the seconds until it is asked.
    """

    reason: str
    wait: float = 0.0
    kind: ClassVar[Literal["retrying"]] = "retrying"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replying(Event):
    """The first text of a reply has arrived, or of the LM's thoughts."""

    kind: ClassVar[Literal["replying"]] = "replying"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking(Event):
    """The LM's thoughts before the answer, where it shows them.

    Args:
        text: the thoughts so far.
        delta: those since the last piece.
    """

    text: str
    delta: str
    kind: ClassVar[Literal["thinking"]] = "thinking"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled(Event):
    """The LM called a tool.

    Args:
        name: the tool's name.
        arguments: a JSON object, as the LM wrote it.
    """

    name: str
    arguments: str
    kind: ClassVar[Literal["tool called"]] = "tool called"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Event):
    """The predictor has its outputs.

    Args:
        usage: the tokens of all its replies.
        cached: whether all of them came from a cache.
    """

    usage: Usage
    cached: bool
    kind: ClassVar[Literal["finished"]] = "finished"


StreamEvent: TypeAlias = Partial | Asked | Retrying | Replying | Thinking | ToolCalled | Finished
