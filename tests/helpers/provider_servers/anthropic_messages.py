"""The messages of Anthropic's API: how they are read, what they must be, and what is cached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from helpers.provider_servers.model import Question, tokens
from helpers.provider_servers.server import Body

SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzZXJ2ZXI="

_MOST_MARKS = 4


def blocks_of(content: Any) -> list[Mapping[str, Any]]:
    """The blocks of a message or of the system prompt."""
    if not content:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def question_of(body: Body, sample: int) -> Question:
    """Read the question in a request."""
    turns = ["".join(_text(block) for block in blocks_of(body.get("system")))]
    media = 0
    for message in body["messages"]:
        blocks = blocks_of(message["content"])
        turns.append("".join(map(_text, blocks)))
        media += sum(block["type"] in ("image", "document") for block in blocks)
    tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools") or ()}
    choice = body.get("tool_choice") or {}
    must_call = choice.get("name", "")
    if choice.get("type") == "any" and tools:
        must_call = next(iter(tools))
    if choice.get("type") == "none":
        tools = {}
    asked = body.get("output_format") or (body.get("output_config") or {}).get("format") or {}
    return Question(
        turns=tuple(turns),
        media=media,
        schema=asked.get("schema"),
        tools=tools,
        must_call=must_call,
        sample=sample,
    )


def _text(block: Mapping[str, Any]) -> str:
    if block["type"] == "tool_result":
        return "".join(map(_text, blocks_of(block.get("content"))))
    return str(block.get("text", ""))


def check_messages(body: Body, *, thinking: bool) -> str:
    """Say why the messages are refused; empty if they are not."""
    messages = body["messages"]
    if not messages:
        return "messages: at least one message is required"
    if messages[0]["role"] != "user":
        # docs.claude.com/en/api/messages; github.com/livekit/agents/pull/669
        return 'messages: first message must use the "user" role'
    waiting: list[str] = []  # tool calls without a result
    for number, message in enumerate(messages):
        if message["role"] not in ("user", "assistant"):
            return f"messages.{number}.role: Input should be 'user' or 'assistant'"
        blocks = blocks_of(message["content"])
        if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            # github.com/stackblitz/bolt.new/issues/7426
            return "messages: text content blocks must be non-empty"
        answered = {b["tool_use_id"] for b in blocks if b["type"] == "tool_result"}
        if missing := [call for call in waiting if call not in answered]:
            # github.com/Kilo-Org/kilocode/issues/5163
            return (
                f"messages.{number}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a "
                "corresponding `tool_result` block in the next message."
            )
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        for place, block in enumerate(blocks):
            if block["type"] == "thinking" and block.get("signature") != SIGNATURE:
                # litellm/llms/anthropic/common_utils.py quotes it
                return f"messages.{number}.content.{place}: Invalid `signature` in `thinking` block"
    return _fault_of_marks(body) or _fault_of_thoughts(messages, thinking)


def _fault_of_thoughts(messages: list[Mapping[str, Any]], thinking: bool) -> str:
    read = [blocks_of(message["content"]) for message in messages]
    called = [
        (number, blocks)
        for number, blocks in enumerate(read)
        if any(block["type"] == "tool_use" for block in blocks)
    ]
    if not thinking or not called or read[-1][0]["type"] != "tool_result":
        return ""
    number, blocks = called[-1]
    if (found := blocks[0]["type"]) in ("thinking", "redacted_thinking"):
        return ""
    # github.com/deepset-ai/haystack-core-integrations/issues/2146
    return (
        f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
        f"`{found}`. When `thinking` is enabled, a final `assistant` message must start with a "
        "thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We "
        "recommend you include thinking blocks from previous turns. To avoid this requirement, "
        "disable `thinking`."
    )


def _fault_of_marks(body: Body) -> str:
    marks = sum("cache_control" in block for block in _all_blocks(body))
    if marks > _MOST_MARKS:
        # github.com/continuedev/continue/pull/6937
        return (
            f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {marks}."
        )
    return ""


def _all_blocks(body: Body) -> Iterator[Mapping[str, Any]]:
    yield from blocks_of(body.get("system"))
    for message in body["messages"]:
        yield from blocks_of(message["content"])


def count_cache(body: Body, known: Callable[[str], bool]) -> dict[str, int]:
    """Count the prompt's tokens: those read from the cache, written to it, and the others.

    The real API caches prefixes of at least 1,024 tokens, or more; here all are cached.
    """
    prefix, read, marked, total = "", 0, 0, 0
    for block in _all_blocks(body):
        text = _text(block)
        prefix += text + "\0"
        total += tokens(text)
        if "cache_control" in block:
            read = total if known(prefix) else read
            marked = total
    return {
        "input_tokens": total - marked,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": marked - read,
    }
