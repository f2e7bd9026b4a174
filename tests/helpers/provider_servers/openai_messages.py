"""Requests in OpenAI's chat format, which many providers speak: messages, tools, schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helpers.provider_servers.model import Answer, Question, tokens
from helpers.provider_servers.server import Body


def text_and_media(content: Any) -> tuple[str, int]:
    """The text of a message's content, and how many media it has."""
    if isinstance(content, str) or content is None:
        return content or "", 0
    texts = "".join(str(part.get("text", "")) for part in content)
    media = sum(part["type"] in ("image_url", "input_audio", "file") for part in content)
    return texts, media


def question_of(body: Body, *, sample: int) -> Question:
    """Read the question in a chat completion request."""
    read = [text_and_media(message.get("content")) for message in body["messages"]]
    functions = [tool["function"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice")
    must_call = choice["function"]["name"] if isinstance(choice, dict) else ""
    if choice in ("required", "any") and functions:
        must_call = functions[0]["name"]
    if choice == "none":
        functions = []
    return Question(
        turns=tuple(text for text, _ in read),
        media=sum(media for _, media in read),
        schema=schema_of(body),
        tools={function["name"]: function["parameters"] for function in functions},
        must_call=must_call,
        sample=sample,
    )


def schema_of(body: Body) -> Mapping[str, Any] | None:
    """The JSON schema of a request, if it has one."""
    asked = body.get("response_format") or {}
    schema: Mapping[str, Any] | None = (asked.get("json_schema") or {}).get("schema")
    return schema or (body.get("structured_outputs") or {}).get("json")


def message_of(said: Answer, *, reasoning: str | None = None) -> dict[str, Any]:
    """An answer as an assistant message; thoughts go in the field `reasoning`, if it is given."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.declined:
        message["refusal"] = said.declined
    if said.tool:
        function = {"name": said.tool, "arguments": said.arguments}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    if reasoning and said.thoughts:
        message[reasoning] = said.thoughts
    return message


def finish_of(said: Answer) -> str:
    if said.cut:
        return "length"
    return "tool_calls" if said.tool else "stop"


def usage_of(question: Question, said: Sequence[Answer], *, cached: bool) -> dict[str, Any]:
    """Count tokens as OpenAI does: completion tokens include those of the thoughts."""
    prompt, completion = tokens(question.prompt), sum(answer.tokens for answer in said)
    thoughts = sum(answer.thought_tokens for answer in said)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": tokens(question.turns[0]) if cached else 0},
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }
