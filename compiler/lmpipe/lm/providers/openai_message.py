"""One choice of a chat completion in OpenAI's format, as a reply or as a piece of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.foundation.shorten import short_repr
from lmpipe.foundation.unicode_text import valid_unicode
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.providers.reasoning_details import details_of, signature_of_details
from lmpipe.lm.providers.thinking_blocks import signature_of
from lmpipe.lm.providers.tool_calls import tool_calls_of
from lmpipe.lm.reasoning import split_reasoning
from lmpipe.lm.request import Finish, Quote, Reply
from lmpipe.state.usage import Usage

_FINISHES: Mapping[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
_REASONING = ("reasoning_content", "reasoning")  # the fields of different servers


class ContentError(ValueError):
    """A choice holds something else than text."""


def finish_of(reason: object) -> Finish:
    """Read a `finish_reason`."""
    return _FINISHES.get(reason, "other") if isinstance(reason, str) else "other"


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a message or of a piece of one; a ContentError if it is something else."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(_text(part, "text") for part in content)
    return _text(message, "content")


def reasoning_of(message: Mapping[str, Any]) -> str:
    """The thoughts in a message or in a piece of one, if the server sends them apart."""
    for name in _REASONING:
        if isinstance(thoughts := message.get(name), str) and thoughts:
            return thoughts
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("thinking") for part in content if isinstance(part, dict)]
        return "".join(content_of({"content": part}) for part in parts)
    return ""


def refusal_of(message: Mapping[str, Any]) -> str:
    """Why the LM declined to answer, in a message or in a piece of one."""
    return _text(message, "refusal")


def quotes_of(message: Mapping[str, Any]) -> tuple[Quote, ...]:
    """The words of documents that are cited in a message or in a piece of one.

    litellm hands on what Anthropic sends: a list for each block of text, or one of a stream.
    """
    fields = message.get("provider_specific_fields")
    if not isinstance(fields, Mapping):
        return ()
    cited = [fields.get("citation"), *(fields.get("citations") or ())]
    flat = [one for item in cited for one in (item if isinstance(item, list) else [item])]
    quotes = [_quote(one) for one in flat if isinstance(one, Mapping)]
    return tuple(dict.fromkeys(quote for quote in quotes if quote is not None))


def _quote(cited: Mapping[str, Any]) -> Quote | None:
    document, text = cited.get("document_index"), cited.get("cited_text")
    if type(document) is not int or document < 0 or not isinstance(text, str) or not text.strip():
        return None  # of a web search, for example
    return Quote(document, valid_unicode(text).strip())


def logprobs_of(choice: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The tokens with their log probabilities in a choice or in a piece of one."""
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return tuple(tokens or ())


def read_choice(
    choice: Mapping[str, Any], usage: Usage, *, seconds: float, fingerprint: str
) -> Reply:
    """Read a whole choice. Raises a ContentError if it holds something else than text and calls.

    Other errors of Python mean that it is not a choice.
    """
    message = choice["message"]
    reasoning, blocks = reasoning_of(message), message.get("thinking_blocks")
    return make_reply(
        content_of(message),
        choice.get("finish_reason"),
        usage,
        seconds=seconds,
        fingerprint=fingerprint,
        reasoning=reasoning,
        refusal=refusal_of(message),
        tool_calls=tool_calls_of(message),
        signature=(
            signature_of(blocks, reasoning.strip())
            if blocks
            else signature_of_details(details_of(message))
        ),
        logprobs=(logprobs_of(choice) or None) if choice.get("logprobs") else None,
        quotes=quotes_of(message),
    )


def make_reply(
    text: str,
    reason: object,
    usage: Usage,
    *,
    seconds: float,
    fingerprint: str,
    reasoning: str = "",
    refusal: str = "",
    tool_calls: tuple[ToolCall, ...] = (),
    signature: str = "",
    logprobs: tuple[Mapping[str, Any], ...] | None = None,
    quotes: tuple[Quote, ...] = (),
) -> Reply:
    """Make a reply of what a server sent: valid Unicode, with the thoughts apart."""
    finish = finish_of(reason)
    if tool_calls and finish in ("stop", "other"):
        finish = "tool_calls"  # some servers say that the LM stopped
    thoughts, answer = split_reasoning(valid_unicode(text))
    if reasoning:  # the server split it off and left the space between
        answer = answer.lstrip()
    if finish == "content_filter" and not refusal:
        refusal = "the provider's content filter stopped the reply"
    return Reply(
        answer,
        finish,
        usage,
        seconds,
        fingerprint,
        reasoning=valid_unicode(reasoning).strip() or thoughts,
        refusal=valid_unicode(refusal),
        tool_calls=tool_calls,
        signature=signature,
        logprobs=logprobs,
        quotes=quotes,
    )


def _text(part: Any, name: str) -> str:
    value = part.get(name) if isinstance(part, dict) else part
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    raise ContentError(f"its {name} is {short_repr(value, 100)}, not text")
