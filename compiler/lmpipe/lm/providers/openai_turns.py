"""Messages and tools in the format of OpenAI's chat completions API, which litellm takes too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lmpipe.errors import ConfigError
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.media import MediaKind
from lmpipe.lm.parts import (
    DocumentPart,
    MediaPart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
)
from lmpipe.lm.providers.reasoning_details import reasoning_details
from lmpipe.lm.providers.reasoning_fields import at_openrouter
from lmpipe.lm.providers.thinking_blocks import thinking_blocks
from lmpipe.lm.request import Request

# What may differ from OpenAI's own server: `vllm` takes audio at URLs and thoughts of earlier
# turns, `llamacpp` such thoughts, `litellm` files at URLs and, for some providers, thoughts.
Dialect = Literal["openai", "vllm", "llamacpp", "litellm"]

# The providers of litellm that want the thoughts of earlier turns back as text.
_TAKE_THOUGHTS = ("deepseek", "moonshot", "hosted_vllm", "mistral")
# Those that want them as blocks, each with its signature.
_TAKE_SIGNED = ("anthropic", "bedrock", "vertex_ai", "azure_ai", "databricks")

# What litellm would leave out of requests to a provider, without a word.
_NOT_SENT: Mapping[str, tuple[MediaKind, ...]] = {
    "anthropic": ("audio",),
    "bedrock": ("audio",),
    "deepseek": ("image", "audio", "file"),
    "ollama": ("audio", "file"),
    "ollama_chat": ("audio", "file"),
}

_AUDIO_FORMATS = {"mpeg": "mp3", "mp3": "mp3", "wav": "wav", "x-wav": "wav", "wave": "wav"}

# Mistral's models want an answer to the results of tools before the user speaks again.
_ANSWERS_RESULTS = re.compile(r"(?:mi|magi|mini|dev|code|pix)stral|mixtral", re.IGNORECASE)
_ANSWER = {"role": "assistant", "content": "OK."}

PLACED_BELOW = "(The tool returned media, which the next turn shows.)"


def openai_turns(request: Request, dialect: Dialect = "openai") -> list[dict[str, Any]]:
    """Write the turns of a request.

    Tool messages can hold text alone: the media in the results of tools follow them, in a turn of
    the user. Thoughts of earlier turns are left out where the provider does not take them.

    Raises a ConfigError for a medium that the format has no place for.
    """
    turns: list[dict[str, Any]] = []
    media: list[MediaPart] = []  # of the tool results above
    for message in request.messages:
        if media and message.role != "tool":
            turns.append(_media_turn(media, request, dialect))
            media = []
        if isinstance(message.content, str):
            turns.append({"role": message.role, "content": message.content})
        elif message.role == "assistant":
            turns.append(_assistant_turn(message.content, request, dialect))
        elif message.role == "tool":
            results = [part for part in message.content if isinstance(part, ToolResult)]
            turns += [_tool_turn(result, media) for result in results]
        elif all(isinstance(part, TextPart) for part in message.content):
            turns.append({"role": message.role, "content": message.text})
        else:
            content = _contents(message.content, request, dialect)
            turns.append({"role": message.role, "content": content})
    if media:
        turns.append(_media_turn(media, request, dialect))
    if _ANSWERS_RESULTS.search(request.lm.model):
        return _with_answers(turns)
    return turns


def _with_answers(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put an answer between the results of tools and a turn of the user."""
    answered: list[dict[str, Any]] = []
    for turn in turns:
        if turn["role"] == "user" and answered and answered[-1]["role"] == "tool":
            answered.append(_ANSWER)
        answered.append(turn)
    return answered


def tool_fields(request: Request) -> dict[str, Any]:
    """The tools of a request, and how one of them is chosen; empty if it has none.

    Raises a ConfigError if the chosen one is not among them.
    """
    if not request.tools:
        return {}
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": load_json(tool.parameters),
            },
        }
        for tool in request.tools
    ]
    choice: Any = request.tool_choice
    if not choice:
        return {"tools": tools}
    if choice not in ("auto", "required", "none"):
        if choice not in [tool.name for tool in request.tools]:
            raise ConfigError(
                f"tool_choice={choice!r} names no tool of the request: give the name of one of "
                f"{', '.join(tool.name for tool in request.tools)}; or auto, required or none"
            )
        choice = {"type": "function", "function": {"name": choice}}
    return {"tools": tools, "tool_choice": choice}


def _contents(parts: Sequence[Part], request: Request, dialect: Dialect) -> list[dict[str, Any]]:
    """The parts that people and tools write: texts and media."""
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, TextPart):
            if part.text:  # some servers refuse an empty text
                content.append({"type": "text", "text": part.text})
        elif isinstance(part, MediaPart):
            content.append(_medium(part, request, dialect))
        elif isinstance(part, DocumentPart):
            content.append(_document(part, dialect))
        else:
            raise ConfigError(
                f"a turn of the user or the system cannot hold a {type(part).__name__}: put tool "
                "calls and thoughts into turns of the assistant, and results into turns of the tool"
            )
    return content


def _document(part: DocumentPart, dialect: Dialect) -> dict[str, Any]:
    """A document that the provider cites, in Anthropic's format; a text elsewhere."""
    if dialect != "litellm":
        return {"type": "text", "text": part.shown}
    head = {"title": part.title, "context": part.source}
    return {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": part.text},
        **{name: value for name, value in head.items() if value},
        "citations": {"enabled": True},
    }


def _medium(part: MediaPart, request: Request, dialect: Dialect) -> dict[str, Any]:
    provider = request.lm.provider
    if dialect == "litellm" and part.kind in _NOT_SENT.get(provider, ()):
        raise ConfigError(
            f"{request.lm.model} takes no {part.kind} (litellm would leave it out): give its "
            "content as text, or ask another LM"
        )
    if part.kind == "image":
        detail = {"detail": part.detail} if part.detail else {}
        return {"type": "image_url", "image_url": {"url": part.data_url, **detail}}
    if part.kind == "audio":
        if part.url:
            if dialect == "vllm":
                return {"type": "audio_url", "audio_url": {"url": part.url}}
            raise _no_url(part, request)
        audio = {"data": part.base64, "format": _audio_format(part.media_type)}
        return {"type": "input_audio", "input_audio": audio}
    if part.url:
        if dialect != "litellm":
            raise _no_url(part, request)
        # With a format, litellm would take the URL for the id of a file at Anthropic.
        told = part.media_type and provider != "anthropic"
        given = {"format": part.media_type} if told else {}
        return {"type": "file", "file": {"file_id": part.url, **given}}
    named = {"filename": part.name} if part.name else {}
    return {"type": "file", "file": {"file_data": part.data_url, **named}}


def _no_url(part: MediaPart, request: Request) -> ConfigError:
    return ConfigError(
        f"{request.lm.model} takes no {part.kind} at a URL: fetch it, and give its bytes"
    )


def _audio_format(media_type: str) -> str:
    subtype = media_type.partition("/")[2].partition(";")[0]
    return _AUDIO_FORMATS.get(subtype, subtype)


def _assistant_turn(parts: Sequence[Part], request: Request, dialect: Dialect) -> dict[str, Any]:
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    calls = [_tool_call(part) for part in parts if isinstance(part, ToolCall)]
    thoughts = [part for part in parts if isinstance(part, ReasoningPart)]
    turn: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    if thoughts:
        turn |= _thoughts(thoughts, request, dialect)
    if calls:
        turn["tool_calls"] = calls
    return turn


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _tool_turn(result: ToolResult, media: list[MediaPart]) -> dict[str, Any]:
    """One result of a tool; its media are added to those that follow."""
    content = result.content
    if not isinstance(content, str):
        media += [part for part in content if isinstance(part, MediaPart)]
        content = "".join(part.text for part in content if isinstance(part, TextPart))
        content = content or PLACED_BELOW
    return {"role": "tool", "tool_call_id": result.call_id, "content": content}


def _media_turn(media: Sequence[MediaPart], request: Request, dialect: Dialect) -> dict[str, Any]:
    return {"role": "user", "content": _contents(media, request, dialect)}


def _thoughts(
    thoughts: Sequence[ReasoningPart], request: Request, dialect: Dialect
) -> dict[str, Any]:
    """The thoughts of an earlier turn, in the form that the provider takes; empty if in none."""
    if at_openrouter(request.lm):
        details = reasoning_details(thoughts)
        return {"reasoning_details": details} if details else {}
    text = "\n".join(part.text for part in thoughts)
    if dialect == "vllm":  # earlier versions take the second name
        return {"reasoning": text, "reasoning_content": text}
    if dialect == "openai":
        return {}
    provider = request.lm.provider
    if dialect == "llamacpp" or provider in _TAKE_THOUGHTS:
        return {"reasoning_content": text}
    blocks = [block for part in thoughts for block in thinking_blocks(part)]
    return {"thinking_blocks": blocks} if blocks and provider in _TAKE_SIGNED else {}
