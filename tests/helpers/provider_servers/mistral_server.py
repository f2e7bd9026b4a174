"""Mistral's chat API, which refuses every field that it does not know.

Sources: docs.mistral.ai/api (`additionalProperties: false`), and public issues that quote the
errors, such as github.com/langchain-ai/langchain-azure/issues/82 and
github.com/partITech/php-mistral/issues/76.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from helpers.provider_servers.model import Answer
from helpers.provider_servers.openai_chat import ChatServer
from helpers.provider_servers.server import Body, RefusedError, names

_KNOWN = names(
    """
    model messages temperature top_p max_tokens stream stop random_seed response_format tools
    tool_choice presence_penalty frequency_penalty n prediction parallel_tool_calls prompt_mode
    safe_prompt metadata reasoning_effort prompt_cache_key guardrails
    """
)
_IN_MESSAGES = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
_CALL_ID = "callnr001"  # nine letters and digits


class MistralServer(ChatServer):
    """`POST /v1/chat/completions` of Mistral."""

    seed_field = "random_seed"

    def check_key(self, headers: Mapping[str, str]) -> None:
        if headers.get("Authorization") != f"Bearer {self.key}":
            # docs.mistral.ai/api: 401
            raise RefusedError(401, {"message": "Unauthorized", "request_id": "1"})

    def thinks(self, body: Body, model: str) -> bool:
        return model.startswith("magistral")

    def check(self, body: Body, model: str) -> None:
        for name in sorted(body.keys() - _KNOWN):
            raise _extra(["body", name], body[name])
        for number, message in enumerate(body["messages"]):
            role = message["role"]
            for name in sorted(message.keys() - _IN_MESSAGES[role]):
                raise _extra(["body", "messages", number, role, name], message[name])
        if not re.match(r"(mistral|magistral|ministral|codestral|open-mi)", model):
            raise _invalid(f"Invalid model: {model}", 1500)
        _check_messages(body["messages"])

    def streams_usage(self, body: Body) -> bool:
        return True  # with the last chunk, without being asked

    def completion(
        self, model: str, said: Sequence[Answer], usage: dict[str, Any]
    ) -> dict[str, Any]:
        whole = super().completion(model, said, _counted(usage))
        for answer, choice in zip(said, whole["choices"], strict=True):
            message = choice["message"]
            for call in message.get("tool_calls") or ():
                call["id"] = _CALL_ID
            if answer.thoughts:
                text = {"type": "text", "text": answer.text}
                message["content"] = [*_thinking(answer.thoughts), text]
        return whole

    def chunks(
        self, model: str, said: Answer, usage: dict[str, Any] | None
    ) -> Iterator[dict[str, Any]]:
        base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model}
        if said.thoughts:
            delta = {"content": _thinking(said.thoughts)}
            yield {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        *chunks, last = super().chunks(model, said, None)
        for chunk in chunks:
            for call in chunk["choices"][0]["delta"].get("tool_calls") or ():
                call["id"] = _CALL_ID
            yield chunk
        yield {**last, "usage": _counted(usage or {})}


def _counted(usage: dict[str, Any]) -> dict[str, Any]:
    """The usage without details, which Mistral does not tell."""
    return {name: count for name, count in usage.items() if "details" not in name}


def _thinking(thoughts: str) -> list[dict[str, Any]]:
    # docs.mistral.ai/capabilities/reasoning: a chunk of the content.
    return [{"type": "thinking", "thinking": [{"type": "text", "text": thoughts}]}]


def _extra(loc: list[str | int], given: Any) -> RefusedError:
    detail = {"type": "extra_forbidden", "loc": loc, "msg": "Extra inputs are not permitted"}
    return RefusedError(
        422,
        {
            "object": "error",
            "message": {"detail": [{**detail, "input": given}]},
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
    )


def _invalid(message: str, code: int, *, kind: str = "invalid_request_error") -> RefusedError:
    about = {"type": kind, "param": None, "code": str(code), "raw_status_code": 400}
    return RefusedError(400, {"object": "error", "message": message, **about})


# Which roles may follow a role; github.com/charmbracelet/crush/issues/279 and
# github.com/NousResearch/hermes-agent/issues/20154 quote the error.
_AFTER = {
    "": ("system", "user", "assistant"),
    "system": ("system", "user", "assistant"),
    "user": ("user", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}


def _check_messages(messages: list[dict[str, Any]]) -> None:
    before = ""
    for message in messages:
        role = message["role"]
        if role not in _AFTER[before]:
            wrong = f"Unexpected role '{role}' after role '{before}'"
            raise _invalid(wrong, 3230, kind="invalid_request_message_order")
        for call in message.get("tool_calls") or ():
            if not re.fullmatch(r"[a-zA-Z0-9]{9}", call["id"]):
                # github.com/nearai/ironclaw/issues/1241
                wrong = (
                    f"Tool call id was {call['id']} but must be a-z, A-Z, 0-9, with a length of 9."
                )
                raise _invalid(wrong, 3280, kind="invalid_function_call")
        before = role
    if before not in ("user", "tool"):
        # github.com/huggingface/smolagents/issues/757
        raise _invalid(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got "
            f"{before}",
            3230,
            kind="invalid_request_message_order",
        )
