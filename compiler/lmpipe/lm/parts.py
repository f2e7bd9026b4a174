"""The parts of messages and replies other than plain text: media, tool calls, results, thoughts.

All are frozen values. In JSON, the bytes of a medium are named by their hash; whoever stores that
JSON stores the bytes once, under the hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lmpipe.errors import MediaError
from lmpipe.foundation.media import MEDIA_KINDS, MediaKind, describe_medium, is_data_url
from lmpipe.foundation.redaction import has_user


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text between other parts of a message."""

    text: str

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text}


@dataclass(frozen=True, slots=True)
class MediaPart:
    """An image, a sound or a file, as bytes or at a URL.

    Args:
        kind: what it is.
        media_type: its MIME type, such as `image/png`; may be empty for a URL.
        data: its bytes; empty if it has a URL.
        url: where the LM's provider finds it; lmpipe does not fetch it.
        name: the name of a file, which LMs are told; that of an image or a sound is dropped,
            because no LM sees it.
        detail: how closely an image is looked at, if the provider takes that: `low` or `high`.

    Raises:
        MediaError: If it has neither bytes nor a URL, or both, or bytes of no MIME type, or a URL
            that begins with `data:` or has a password.
    """

    kind: MediaKind
    media_type: str
    data: bytes = field(default=b"", repr=False)
    url: str = ""
    name: str = ""
    detail: str = ""
    _sha256: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if is_data_url(self.url):  # its bytes would be shown, and stored as text
            raise MediaError(
                f"the {self.kind} has a data: URL: decode it, and give its bytes as data="
            )
        if has_user(self.url):  # it would be in caches and cassettes
            raise MediaError(
                f"the URL of the {self.kind} has a user's name or password: fetch it, and give "
                "its bytes as data="
            )
        if bool(self.data) == bool(self.url):
            found = "both" if self.data else "neither"
            raise MediaError(f"give the {self.kind} data or a url: it has {found}")
        if self.data and not self.media_type:
            raise MediaError(
                f"the {self.kind} has no media_type: give the MIME type of its bytes, such as "
                "image/png"
            )
        if self.kind != "file":
            object.__setattr__(self, "name", "")

    @property
    def shown(self) -> str:
        """The medium for people, in a few words."""
        return describe_medium(
            self.kind,
            self.media_type,
            len(self.data),
            self.sha256,
            url=self.url,
            name=self.name,
            detail=self.detail,
        )

    @property
    def sha256(self) -> str:
        """The hash of its bytes, in hexadecimal; empty for a URL."""
        if self.data and not self._sha256:
            object.__setattr__(self, "_sha256", hashlib.sha256(self.data).hexdigest())
        return self._sha256

    @property
    def base64(self) -> str:
        """Its bytes as base64."""
        return base64.b64encode(self.data).decode()

    @property
    def data_url(self) -> str:
        """Its bytes as a `data:` URL, or its URL."""
        return self.url or f"data:{self.media_type};base64,{self.base64}"

    def to_json(self) -> dict[str, Any]:
        """Return everything but the bytes, which are named by their hash."""
        about = {
            "media_type": self.media_type,
            "sha256": self.sha256,
            "url": self.url,
            "name": self.name,
            "detail": self.detail,
        }
        return {self.kind: {name: value for name, value in about.items() if value}}


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A text that the LM's provider cites by itself, apart from the text around it.

    Args:
        text: its content.
        title: its title; may be empty.
        source: where it is from, or its id; may be empty.
    """

    text: str
    title: str = ""
    source: str = ""

    kind: ClassVar[str] = "document"

    @property
    def shown(self) -> str:
        """The document for people."""
        head = [text for text in (self.source, self.title) if text]
        return f"<document {', '.join(map(repr, head))}: {self.text}>" if head else self.text

    def to_json(self) -> dict[str, Any]:
        about = {"text": self.text, "title": self.title, "source": self.source}
        return {"document": {name: value for name, value in about.items() if value}}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that an LM asks for.

    Args:
        id: the LM's name for this call, which its result repeats.
        name: the tool's name.
        arguments: a JSON object, as the LM wrote it; it may not be valid.
    """

    id: str
    name: str
    arguments: str

    def to_json(self) -> dict[str, Any]:
        call = {"id": self.id, "name": self.name, "arguments": self.arguments}
        return {"tool_call": call}


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool returned for one call.

    Args:
        call_id: the id of its call.
        content: a text, or parts such as an image.
        is_error: whether the tool failed; then the content says how.
    """

    call_id: str
    content: str | tuple[TextPart | MediaPart, ...]
    is_error: bool = False

    def to_json(self) -> dict[str, Any]:
        content: Any = self.content
        if not isinstance(content, str):
            content = [part.to_json() for part in content]
        result = {"call_id": self.call_id, "content": content}
        return {"tool_result": {**result, **({"is_error": True} if self.is_error else {})}}


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """Thoughts of an LM in an earlier turn.

    Args:
        text: the thoughts, or their summary.
        signature: what the provider needs to recognise its own thoughts; empty if nothing.
    """

    text: str
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        signature = {"signature": self.signature} if self.signature else {}
        return {"reasoning": {"text": self.text, **signature}}


Part = TextPart | MediaPart | DocumentPart | ToolCall | ToolResult | ReasoningPart

# The bytes with a hash.
Media = Callable[[str], bytes]


def read_part(value: Any, media: Media) -> Part:
    """Read what the `to_json` of a part wrote; `media` finds the bytes of a medium.

    Raises a ValueError if it is not a part.
    """
    match value:
        case {"text": str(text), **rest} if not rest:
            return TextPart(text)
        case {"tool_call": {"id": str(call_id), "name": str(name), "arguments": str(arguments)}}:
            return ToolCall(call_id, name, arguments)
        case {"tool_result": {"call_id": str(call_id), "content": content, **rest}}:
            return ToolResult(call_id, _read_result(content, media), rest.get("is_error") is True)
        case {"reasoning": {"text": str(text), **rest}}:
            return ReasoningPart(text, _text(rest, "signature"))
        case {"document": dict(document)}:
            texts = [_text(document, name) for name in ("text", "title", "source")]
            return DocumentPart(*texts)
    if isinstance(value, dict) and len(value) == 1:
        ((kind, about),) = value.items()
        if kind in MEDIA_KINDS and isinstance(about, dict):
            return _read_medium(kind, about, media)
    raise ValueError("not a part of a message")


def _read_medium(kind: MediaKind, about: Mapping[str, Any], media: Media) -> MediaPart:
    sha256 = _text(about, "sha256")
    return MediaPart(
        kind,
        _text(about, "media_type"),
        data=media(sha256) if sha256 else b"",
        url=_text(about, "url"),
        name=_text(about, "name"),
        detail=_text(about, "detail"),
    )


def _read_result(content: Any, media: Media) -> str | tuple[TextPart | MediaPart, ...]:
    if isinstance(content, str):
        return content
    parts = [read_part(part, media) for part in content] if isinstance(content, list) else []
    read = tuple(part for part in parts if isinstance(part, TextPart | MediaPart))
    if not read or len(read) != len(parts):
        raise ValueError("not the result of a tool")
    return read


def _text(value: Mapping[Any, Any], name: str) -> str:
    text = value.get(name, "")
    if not isinstance(text, str):
        raise ValueError(f"its {name} is not a text")
    return text


def media_in(content: str | tuple[Part, ...]) -> list[MediaPart]:
    """Return the media among some parts, also those in results of tools, in order."""
    if isinstance(content, str):
        return []
    found: list[MediaPart] = []
    for part in content:
        if isinstance(part, MediaPart):
            found.append(part)
        elif isinstance(part, ToolResult):
            found += media_in(part.content)
    return found


def show_part(part: Part) -> str:
    """Write a part for people; a medium is described."""
    match part:
        case TextPart(text=text):
            return text
        case MediaPart() | DocumentPart():
            return part.shown
        case ToolCall(name=name, arguments=arguments):
            return f"<call of {name}: {arguments}>"
        case ToolResult(content=content):
            shown = content if isinstance(content, str) else "".join(map(show_part, content))
            return f"<{'error' if part.is_error else 'result'} of a tool: {shown}>"
        case ReasoningPart(text=text):
            return f"<thoughts: {text}>"


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as an LM sees it.

    Args:
        name: letters, digits, `_` and `-`.
        description: what it does, in words.
        parameters: the JSON schema of its arguments, as canonical JSON.
    """

    name: str
    description: str
    parameters: str

    def to_json(self) -> dict[str, str]:
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }

    @property
    def shown(self) -> str:
        """The tool for people."""
        return f"{self.name}: {self.description}\n{self.parameters}"
