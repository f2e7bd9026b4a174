"""The parts of messages and replies other than plain text: media, tool calls, results, thoughts.

All are frozen values. In JSON, the bytes of a medium are named by their hash; whoever stores that
JSON stores the bytes once, under the hash.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

MediaKind = Literal["image", "audio", "file"]


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
        name: the file's name, which some providers show to the model.
        detail: how closely an image is looked at, if the provider takes that: `low` or `high`.
    """

    kind: MediaKind
    media_type: str
    data: bytes = field(default=b"", repr=False)
    url: str = ""
    name: str = ""
    detail: str = ""

    @property
    def sha256(self) -> str:
        """The hash of its bytes, in hexadecimal; empty for a URL."""
        return hashlib.sha256(self.data).hexdigest() if self.data else ""

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


Part = TextPart | MediaPart | ToolCall | ToolResult | ReasoningPart


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
