"""Read what users give to an LM: a text, messages, or mappings in OpenAI's format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import orjson

from lmpipe.errors import CallError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.media import (
    MediaKind,
    decode_data,
    is_data_url,
    media_type_of,
    read_data_url,
)
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.message import Message, Role
from lmpipe.lm.parts import (
    MediaPart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from lmpipe.lm.providers.reasoning_details import details_of, signature_of_details

if TYPE_CHECKING:
    from lmpipe.signatures.field_types.media import Medium
    from lmpipe.signatures.field_types.parts import HasParts


def read_messages(given: object) -> tuple[Message, ...]:
    """Read a text, a turn, or the turns of a conversation.

    Raises:
        CallError: if it is anything else; the message says which turn, and why.
    """
    if isinstance(given, str):
        return (Message("user", given),)
    if isinstance(given, Message | Mapping):
        return (_message(given, 1),)
    if not isinstance(given, Sequence) or isinstance(given, bytes) or not given:
        raise CallError(
            f"an LM was asked {_shown(given)}: give a text, or a list of messages such as "
            '{"role": "user", "content": "…"}'
        )
    return tuple(_message(turn, number) for number, turn in enumerate(given, start=1))


def read_tools(given: Iterable[object]) -> tuple[ToolSpec, ...]:
    """Read tools, each as a `ToolSpec`, as a `Tool` or in OpenAI's format.

    Raises:
        CallError: if one is anything else.
    """
    return tuple(map(_tool, given))


def _tool(given: object) -> ToolSpec:
    match given:
        case ToolSpec():
            return given
        case {"type": "function", "function": {"name": str(name), **rest}}:
            described = rest.get("description") or ""
            schema = rest.get("parameters") or {"type": "object", "properties": {}}
            return ToolSpec(name, str(described), canonical_json(schema).decode())
    from lmpipe.signatures.field_types.tools import Tool  # few calls need it

    if isinstance(given, Tool):
        return ToolSpec(given.name, given.description, canonical_json(given.parameters).decode())
    raise CallError(
        f"tools: {_shown(given)} is not a tool: give lmpipe.Tool.of(function), or "
        '{"type": "function", "function": {"name": …, "description": …, "parameters": …}}'
    )


def _message(given: object, number: int) -> Message:
    try:
        if not isinstance(given, Message):
            return _read(given)
        if isinstance(given.content, str):
            return given
        return Message(given.role, tuple(_parts(given.content)))
    except ValueError as error:
        raise CallError(f"message {number}: {error}") from None


def _read(given: object) -> Message:
    if not isinstance(given, Mapping) or "role" not in given:
        raise ValueError(
            f'{_shown(given)} is not a message: give {{"role": "user", "content": "…"}}'
        )
    role = _role(given["role"])
    content = given.get("content")
    if role == "tool":
        return Message("tool", (_tool_result(given, content),))
    details = signature_of_details(details_of(given))
    thoughts = given.get("reasoning_content") or (given.get("reasoning") if details else None)
    calls = given.get("tool_calls") or ()
    if not isinstance(calls, list | tuple):
        raise ValueError(f"its tool_calls are {_shown(calls)}: give a list")
    text = thoughts if isinstance(thoughts, str) else ""
    if isinstance(content, str) and not calls and not thoughts and not details:
        return Message(role, content)
    parts = [
        *([ReasoningPart(text, details)] if text or details else []),
        *_parts(content),
        *map(_tool_call, calls),
    ]
    if not parts:
        raise ValueError("it has no content")
    return Message(role, tuple(parts))


# `developer` is OpenAI's name of the system turn for models that think.
_ROLES: Mapping[object, Role] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def _role(given: object) -> Role:
    if isinstance(given, str) and given in _ROLES:
        return _ROLES[given]
    raise ValueError(f"the role {given!r:.50} is none of system, user, assistant, tool")


def _tool_result(given: Mapping[str, Any], content: object) -> ToolResult:
    call_id = given.get("tool_call_id")
    if not isinstance(call_id, str):
        raise ValueError("a tool's result needs the tool_call_id of its call")
    if isinstance(content, str):
        return ToolResult(call_id, content)
    parts = tuple(part for part in _parts(content) if isinstance(part, TextPart | MediaPart))
    return ToolResult(call_id, parts)


def _tool_call(given: object) -> ToolCall:
    match given:
        case ToolCall():
            return given
        case {"id": str(call_id), "function": {"name": str(name), "arguments": arguments}}:
            if isinstance(arguments, Mapping):
                arguments = orjson.dumps(dict(arguments)).decode()
            if isinstance(arguments, str):
                return ToolCall(call_id, name, arguments)
    raise ValueError(f"{_shown(given)} is not a tool call with an id and a function")


def _parts(content: object) -> Iterator[Part]:
    match content:
        case None | "":
            return
        case str():
            yield TextPart(content)
        case list() | tuple():
            for item in content:
                yield from _parts_of(item) if _has_parts(item) else (_part(item),)
        case _ if _has_parts(content):
            yield from _parts_of(content)
        case _:
            raise ValueError(f"its content is {_shown(content)}: give a text or a list")


def _has_parts(value: object) -> TypeGuard[HasParts]:
    """Whether a value says which parts show it."""
    return callable(getattr(value, "to_parts", None))


def _parts_of(value: HasParts) -> Iterator[Part]:
    """The parts that show an image, a document or the like."""
    for part in value.to_parts():
        yield TextPart(part) if isinstance(part, str) else media_part(part)


def media_part(medium: Medium) -> MediaPart:
    """Make the part of a message that a medium becomes."""
    return MediaPart(
        medium.kind,
        medium.media_type,
        medium.data,
        medium.url,
        medium.name,
        getattr(medium, "detail", ""),
    )


def _part(given: object) -> Part:
    match given:
        case str():
            return TextPart(given)
        case TextPart() | MediaPart() | ToolCall() | ToolResult() | ReasoningPart():
            return given
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return TextPart(text)
        case {"type": "image_url", "image_url": {"url": str(url), **rest}}:
            return _medium("image", url, detail=str(rest.get("detail") or ""))
        case {"type": "image_url" | "input_image", "image_url": str(url)}:
            return _medium("image", url)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(kind)}}:
            return MediaPart("audio", f"audio/{kind}", decode_data(data))
        case {"type": "file", "file": {"file_data": str(data), **rest}}:
            return _medium("file", data, name=str(rest.get("filename") or ""))
    raise ValueError(
        f"its content has {_shown(given)}: give parts such as "
        '{"type": "text", "text": …}, or lmpipe.Image.of(…)'
    )


def _medium(kind: MediaKind, url: str, *, name: str = "", detail: str = "") -> MediaPart:
    """Read a medium at a URL, or as a `data:` URL."""
    if not is_data_url(url):
        return MediaPart(kind, "", url=url, name=name, detail=detail)
    said, data = read_data_url(kind, url)
    return MediaPart(kind, said or media_type_of(data, name), data, name=name, detail=detail)


def _shown(value: object) -> str:
    return repr_without_data(value, 100)
