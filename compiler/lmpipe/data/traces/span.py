"""`Span`: one recorded step of a program, whatever tool recorded it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lmpipe.errors import DataError
from lmpipe.foundation.shorten import short_repr

_GOOD = {
    "up",
    "thumbs_up",
    "thumbsup",
    "positive",
    "like",
    "liked",
    "good",
    "yes",
    "true",
    "correct",
}
_BAD = {
    "down",
    "thumbs_down",
    "thumbsdown",
    "negative",
    "dislike",
    "disliked",
    "bad",
    "no",
    "false",
    "incorrect",
    "wrong",
}
_SIGNS = {"👍": True, "👎": False}


@dataclass(frozen=True)
class Feedback:
    """What somebody said about a span or a trace.

    Args:
        name: what it is about, such as `user-thumb`.
        value: a boolean, a number, a text, or the right output.
    """

    name: str
    value: Any

    def is_good(self) -> bool:
        """Read the value as a thumb: up or down.

        Raises:
            DataError: if it is neither.
        """
        value = self.value
        if isinstance(value, bool | int | float):
            return value > 0
        word = str(value).strip().casefold().replace(" ", "_").replace("-", "_")
        if word in _GOOD or word in _BAD:
            return word in _GOOD
        if word in _SIGNS:
            return _SIGNS[word]
        raise DataError(
            f"the feedback {self.name!r} is {short_repr(value, 80)}, which is not a thumb: "
            "expected true or false, a number that is positive for up, or a word such as up or down"
        )


@dataclass(frozen=True)
class Span:
    """One step of a run.

    Args:
        place: the file, with the line or item, for error messages.
        trace: which run it belongs to.
        id: its own name in the trace.
        parent: the span around it, or None.
        name: what its author called it.
        kind: what it is, in the words of the format, such as `generation` or `LLM`.
        input: what went in, as JSON.
        output: what came out, as JSON; None if nothing did.
        attributes: what else is known of it, as JSON.
        failed: whether it ended with an error.
        feedback: what was said about it.
    """

    place: str
    trace: str
    id: str
    name: str
    parent: str | None = None
    kind: str = ""
    input: Any = None
    output: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    failed: bool = False
    feedback: tuple[Feedback, ...] = ()

    def where(self) -> str:
        """Say where the span is, for error messages."""
        return f"{self.place}: span {self.name!r}"

    def document(self) -> dict[str, Any]:
        """Return what paths of a mapping read."""
        return {
            "input": self.input,
            "output": self.output,
            "attributes": self.attributes,
            "feedback": {item.name: item.value for item in self.feedback},
            "name": self.name,
            "kind": self.kind,
        }


def chat_text(messages: object, role: str = "") -> str | None:
    """Return the text of the last message with a role, or of the last message."""
    if not isinstance(messages, Iterable) or isinstance(messages, str | Mapping):
        return None
    found = [item for item in messages if isinstance(item, Mapping)]
    texts = [message_text(item) for item in found if not role or item.get("role") == role]
    return texts[-1] if texts else None


def message_text(message: Mapping[str, Any]) -> str | None:
    """Return the text of a message: its content, or the texts of its parts together."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = message.get("parts") if content is None else content
    if not isinstance(parts, list):
        return None
    texts = [
        text
        for part in parts
        if isinstance(part, Mapping)
        for text in [part.get("content") or part.get("text")]
        if isinstance(text, str)
    ]
    return "\n".join(texts) if texts else None


def chat(messages: object, role: str = "") -> dict[str, Any]:
    """Write messages with the text that mappings read most: `input.text`, `output.text`."""
    return {"messages": messages, "text": chat_text(messages, role)}
