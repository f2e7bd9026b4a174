"""The last LM calls of a runtime, which people read to see what was asked and answered."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from lmpipe.lm.parts import MediaPart, TextPart, ToolResult

if TYPE_CHECKING:
    from lmpipe.lm.message import Message
    from lmpipe.lm.parts import Part
    from lmpipe.lm.request import Reply, Request

DEFAULT_LENGTH = 10

_Ended: TypeAlias = "tuple[float, Request, Reply | None, str, str, str]"


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One of the last LM calls.

    Args:
        at: when it began, in seconds since 1970.
        request: what was asked; in place of a medium, a text describes it.
        reply: what came; None if the call failed.
        error: why it failed.
        predictor: the path of the predictor that made it; empty for a direct call of an LM.
        role: who made it, such as `task` or `judge`.
    """

    at: float
    request: Request
    reply: Reply | None
    error: str
    predictor: str
    role: str


class CallHistory:
    """The last calls, made in any thread.

    Attributes:
        everything: whether the calls of evaluations and compiles are kept too. They are many, and
            have accounts of their own, so they are kept only where `keep` asked for a number.
    """

    __slots__ = ("_calls", "everything")

    def __init__(self) -> None:
        self._calls: deque[_Ended] = deque(maxlen=DEFAULT_LENGTH)
        self.everything = False

    def keep(self, number: int) -> None:
        """Keep this number of calls from now on, whoever makes them; 0 keeps none."""
        self._calls = deque(self._calls, maxlen=number)
        self.everything = number > 0

    def add(
        self,
        started: float,
        request: Request,
        reply: Reply | None,
        label: str,
        role: str,
        error: str = "",
    ) -> None:
        """Add a call that has ended: with a reply, or with an error.

        It began when `time.perf_counter()` was `started`.
        """
        # Every call comes here, so no record is made of it before it is read. Its own media may be
        # large; those of a prefix are the program's, which one own turn of text follows as a rule.
        prefix, messages = request.prefix, request.messages
        if (
            prefix is None
            or len(messages) - len(prefix.messages) > 1
            or type(messages[-1].content) is not str
        ):
            request = _without_media(request)
        self._calls.append((started, request, reply, error, label, role))

    def last(self, number: int) -> tuple[CallRecord, ...]:
        """Return the last calls, the latest at the end."""
        calls, since_1970 = list(self._calls.copy()), time.time() - time.perf_counter()
        return tuple(
            CallRecord(
                since_1970 + started,
                _without_media(request),
                reply,
                error,
                label,
                "embedder" if request.embeds else role,
            )
            for started, request, reply, error, label, role in calls[max(0, len(calls) - number) :]
        )


def _without_media(request: Request) -> Request:
    if all(isinstance(message.content, str) for message in request.messages):
        return request
    return replace(request, messages=tuple(map(_in_text, request.messages)))


def _in_text(message: Message) -> Message:
    if isinstance(message.content, str):
        return message
    return replace(message, content=tuple(map(_part_in_text, message.content)))


def _part_in_text(part: Part) -> Part:
    if isinstance(part, MediaPart):
        return TextPart(part.shown)
    if isinstance(part, ToolResult) and not isinstance(part.content, str):
        content = "".join(
            one.shown if isinstance(one, MediaPart) else one.text for one in part.content
        )
        return replace(part, content=content)
    return part
