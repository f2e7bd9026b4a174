"""What was asked and answered, as attributes of spans: only where the user wants it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, Part, ReasoningPart, TextPart, ToolCall, ToolResult
from lmpipe.lm.request import Reply, Request
from lmpipe.signatures.signature import Signature, result_to_json

_FINISH = {"tool_calls": "tool_call", "other": "error"}  # where the conventions differ


def json_text(value: object) -> str:
    """Write a value as JSON; what JSON cannot hold becomes its representation."""
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> Any:
    if isinstance(value, Signature):
        return result_to_json(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return result_to_json(value)


def message_of(role: str, value: object) -> str:
    """Write a value as the only message of a conversation: a text as it is, others as JSON."""
    text = value if isinstance(value, str) else json_text(value)
    message: dict[str, Any] = {"role": role, "parts": [{"type": "text", "content": text}]}
    if role == "assistant":
        message["finish_reason"] = "stop"
    return json.dumps([message], ensure_ascii=False)


def asked(request: Request) -> dict[str, str]:
    """Return what an LM was asked: its instructions, the messages and the tools."""
    system = [item for item in request.messages if item.role == "system"]
    others = [item for item in request.messages if item.role != "system"]
    found = {"gen_ai.input.messages": json.dumps(list(map(_message, others)), ensure_ascii=False)}
    if system:
        parts = [part for message in system for part in _parts(message)]
        found["gen_ai.system_instructions"] = json.dumps(parts, ensure_ascii=False)
    if request.tools:
        tools = [{"type": "function", **tool.to_json()} for tool in request.tools]
        found["gen_ai.tool.definitions"] = json.dumps(tools, ensure_ascii=False)
    return found


def replied(reply: Reply) -> dict[str, str]:
    """Return what an LM replied."""
    parts: list[dict[str, Any]] = []
    if reply.reasoning:
        parts.append({"type": "reasoning", "content": reply.reasoning})
    if reply.text or reply.refusal:
        parts.append({"type": "text", "content": reply.text or reply.refusal})
    parts += map(_part, reply.tool_calls)
    finish = _FINISH.get(reply.finish, reply.finish)
    message = {"role": "assistant", "parts": parts, "finish_reason": finish}
    return {"gen_ai.output.messages": json.dumps([message], ensure_ascii=False)}


def _message(message: Message) -> dict[str, Any]:
    role = "user" if message.role == "embed" else message.role
    return {"role": role, "parts": _parts(message)}


def _parts(message: Message) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "text", "content": message.content}]
    return list(map(_part, message.content))


def _part(part: Part) -> dict[str, Any]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "content": text}
        case ReasoningPart(text=text):
            return {"type": "reasoning", "content": text}
        case ToolCall(id=call, name=name, arguments=arguments):
            return {"type": "tool_call", "id": call, "name": name, "arguments": arguments}
        case ToolResult(call_id=call):
            return {"type": "tool_call_response", "id": call, "response": _shown(part.content)}
        case MediaPart():
            # Its bytes would exceed what collectors take.
            return {"type": part.kind, "mime_type": part.media_type, "content": part.shown}
    return {"type": part.kind, "content": part.shown}


def _shown(content: str | Sequence[TextPart | MediaPart]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text if isinstance(part, TextPart) else part.shown for part in content)
