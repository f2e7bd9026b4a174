"""`ToolOutcome`: what a tool returned, or its error, as an LM sees it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from lmpipe.errors import CallError
from lmpipe.foundation.shorten import shorten_middle
from lmpipe.foundation.unicode_text import valid_unicode
from lmpipe.lm.parts import MediaPart, TextPart, ToolResult, media_in, read_part, show_part
from lmpipe.signatures.field_types.media import Medium
from lmpipe.signatures.field_types.parts import has_parts
from lmpipe.signatures.signature import Signature, result_to_json

NOTHING = "(no result)"  # what an LM sees of a tool that returns None


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What one run of a tool gave.

    Args:
        text: the result as text, or the error.
        parts: the result as texts and media, if it holds a medium; else empty.
        error: whether the tool failed.
    """

    text: str
    parts: tuple[TextPart | MediaPart, ...] = ()
    error: bool = False

    @staticmethod
    def of(name: str, value: object) -> ToolOutcome:
        """Convert what the tool with this name returned.

        Raises:
            CallError: if it is a value that cannot be written.
        """
        if isinstance(value, ToolOutcome):
            return value
        parts = tuple(_parts(name, value)) if _has_media(value) else ()
        if parts:
            return ToolOutcome("".join(map(show_part, parts)), parts)
        return ToolOutcome(_text(name, value))

    @staticmethod
    def of_error(message: str, limit: int) -> ToolOutcome:
        """Convert an error; of a long one the middle is left out."""
        head = limit * 2 // 3
        shown = shorten_middle(valid_unicode(message), head=head, tail=limit - head)
        return ToolOutcome(shown, error=True)

    def as_result(self, call_id: str) -> ToolResult:
        """Return the part of a message that answers a call of an LM."""
        return ToolResult(call_id, self.parts or self.text, self.error)

    def to_json(self) -> dict[str, Any]:
        """Write it as JSON, bytes of media included."""
        value: dict[str, Any] = {"text": self.text}
        if self.parts:
            value["parts"] = [part.to_json() for part in self.parts]
            value["media"] = {part.sha256: part.base64 for part in media_in(self.parts)}
        return {**value, **({"error": True} if self.error else {})}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ToolOutcome:
        """Read what `to_json` wrote; raise a ValueError if it is anything else."""
        match value:
            case {"text": str(text), **rest}:
                return ToolOutcome(text, tuple(_read_parts(rest)), rest.get("error") is True)
        raise ValueError("not the outcome of a tool")


def _has_media(value: object) -> bool:
    if isinstance(value, TextPart | MediaPart) or has_parts(value):
        return True
    return isinstance(value, list | tuple) and any(map(_has_media, value))


def _parts(name: str, value: object) -> Iterator[TextPart | MediaPart]:
    if isinstance(value, TextPart | MediaPart):
        yield value
    elif isinstance(value, Medium):
        yield _medium_part(value)
    elif has_parts(value):
        shown: Sequence[str | Medium] = value.to_parts()  # type: ignore[attr-defined]
        for item in shown:
            yield from _parts(name, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _parts(name, item)
    else:
        yield TextPart(_text(name, value))


def _medium_part(medium: Medium) -> MediaPart:
    about = {field: getattr(medium, field, "") for field in ("url", "name", "detail")}
    return MediaPart(medium.kind, medium.media_type, data=medium.data, **about)


def _text(name: str, value: object) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, Signature):  # the LM knows the inputs
        value = result_to_json(value)
    try:
        return to_json(value).decode()
    except (PydanticSerializationError, ValueError):
        if type(value).__str__ is object.__str__ and type(value).__repr__ is object.__repr__:
            raise CallError(
                f"the tool {name} returned an instance of {type(value).__name__}, which no LM can "
                "read: return a text, a JSON value, a pydantic model or a medium"
            ) from None
        return valid_unicode(str(value))


def _read_parts(value: Mapping[str, Any]) -> Iterator[TextPart | MediaPart]:
    media = {name: base64.b64decode(data) for name, data in value.get("media", {}).items()}
    for item in value.get("parts", ()):
        part = read_part(item, media.__getitem__)
        if not isinstance(part, TextPart | MediaPart):
            raise ValueError("not a part of a tool's result")
        yield part
