"""Results of MCP tools as outcomes, and their descriptions as plain JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.lm.parts import MediaPart, TextPart
from lmpipe.tools.outcome import NOTHING, ToolOutcome

if TYPE_CHECKING:
    from mcp import Tool as RemoteTool
    from mcp_types import CallToolResult, ContentBlock


def description_of(tool: RemoteTool) -> dict[str, Any]:
    """Return what a server says about a tool.

    It has effects unless the server says that it only reads: that is what the protocol lays down
    for a tool without annotations.
    """
    reads = tool.annotations is not None and tool.annotations.read_only_hint is True
    return {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": dict(tool.input_schema),
        "effects": not reads,
    }


def outcome_of(result: CallToolResult) -> ToolOutcome:
    """Convert the result of a call."""
    parts = [part for block in result.content for part in _parts(block)]
    if not parts and result.structured_content is not None:
        parts = [TextPart(canonical_json(result.structured_content).decode())]
    text = "\n".join(part.text if isinstance(part, TextPart) else part.shown for part in parts)
    media = any(isinstance(part, MediaPart) for part in parts)
    return ToolOutcome(text or NOTHING, tuple(parts) if media else (), result.is_error)


def _parts(block: ContentBlock) -> Iterator[TextPart | MediaPart]:
    match block.type:
        case "text":
            yield TextPart(block.text)
        case "image" | "audio":
            yield MediaPart(block.type, block.mime_type, data=base64.b64decode(block.data))
        case "resource_link":
            yield TextPart(block.uri)
        case "resource":
            resource = block.resource
            if text := getattr(resource, "text", ""):
                yield TextPart(text)
            elif data := base64.b64decode(getattr(resource, "blob", "")):
                kind = resource.mime_type or "application/octet-stream"
                yield MediaPart("file", kind, data=data, name=str(resource.uri))
