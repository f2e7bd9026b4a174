"""Anthropic's Messages API, with what it refuses.

Sources: docs.claude.com/en/api/messages, …/build-with-claude/extended-thinking, …/prompt-caching
and …/structured-outputs, and public issues that quote the errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web
from helpers.provider_servers.anthropic_messages import (
    SIGNATURE,
    check_messages,
    count_cache,
    question_of,
)
from helpers.provider_servers.model import Answer, words_of
from helpers.provider_servers.server import (
    Body,
    ProviderServer,
    RefusedError,
    named_event,
    names,
    send_events,
)

_KNOWN = names(
    """
    model max_tokens messages system temperature top_p top_k stop_sequences stream metadata thinking
    tools tool_choice service_tier container context_management output_config output_format
    mcp_servers cache_control inference_geo speed
    """
)
_ROOM = {"claude-opus-4-5": 64_000, "claude-haiku-4-5": 64_000, "claude-opus-4-7": 128_000}
_ADAPTIVE = re.compile(r"claude-opus-4-[7-9]")  # take neither sampling settings nor budgets
_LEAST_BUDGET = 1024


def anthropic_error(message: str, *, status: int = 400, kind: str = "") -> RefusedError:
    """An error in the form in which Anthropic answers."""
    error = {"type": kind or "invalid_request_error", "message": message}
    return RefusedError(status, {"type": "error", "error": error, "request_id": "req_1"})


class AnthropicServer(ProviderServer):
    """`POST /v1/messages`."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/messages", self.messages)

    def check_key(self, headers: Mapping[str, str]) -> None:
        if headers.get("x-api-key") != self.key:
            # docs.claude.com/en/api/errors: authentication_error
            raise anthropic_error("invalid x-api-key", status=401, kind="authentication_error")
        if "anthropic-version" not in headers:
            raise anthropic_error("anthropic-version: header is required")

    async def messages(self, request: web.Request) -> web.StreamResponse:
        body = await self.accept(request)
        check(body)
        self.record(request, body)
        sample = self.sample_number(body, greedy=body.get("temperature") == 0)
        question = question_of(body, sample)
        said = self.say(question, thinks=_thinks(body), limit=body["max_tokens"])
        blocks = _blocks(said)
        usage = {**count_cache(body, self.knows_prefix), "output_tokens": said.tokens}
        reason = "max_tokens" if said.cut else "tool_use" if said.tool else "end_turn"
        # docs.claude.com/…/handle-streaming-refusals: without a text
        reason = "refusal" if said.declined else reason
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }
        if body.get("stream"):
            events = (named_event(event["type"], event) for event in _events(said, message))
            return await send_events(request, events)
        return web.json_response(message)


def check(body: Body) -> None:
    """Refuse what Anthropic refuses."""
    if unknown := sorted(body.keys() - _KNOWN):
        # pydantic's words, as in github.com/langchain-ai/langchain-azure/issues/82
        raise anthropic_error(f"{unknown[0]}: Extra inputs are not permitted")
    if "max_tokens" not in body:
        raise anthropic_error("max_tokens: Field required")
    model, limit = body["model"], body["max_tokens"]
    room = next((room for name, room in _ROOM.items() if model.startswith(name)), None)
    if room is None:
        raise anthropic_error(f"model: {model}", status=404, kind="not_found_error")
    if limit > room:
        # github.com/OpenHands/OpenHands/issues/11090
        raise anthropic_error(
            f"max_tokens: {limit} > {room}, which is the maximum allowed number of output tokens "
            f"for {model}"
        )
    _check_sampling(body)
    _check_thinking(body)
    _check_schema(body)
    if fault := check_messages(body, thinking=_thinks(body)):
        raise anthropic_error(fault)


def _check_sampling(body: Body) -> None:
    if not 0 <= body.get("temperature", 1) <= 1:
        raise anthropic_error("temperature: range: 0..1")
    if "temperature" in body and "top_p" in body:
        # github.com/fwdai/reticle/issues/7
        raise anthropic_error(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only "
            "one."
        )
    if _ADAPTIVE.match(body["model"]):
        for name in ("temperature", "top_p", "top_k"):
            if name in body:
                # github.com/UKGovernmentBEIS/inspect_ai/issues/3721
                raise anthropic_error(f"`{name}` is deprecated for this model.")


def _thinks(body: Body) -> bool:
    return (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")


def _check_thinking(body: Body) -> None:
    thinking = body.get("thinking") or {}
    if not _thinks(body):
        return
    if thinking["type"] == "enabled":
        if _ADAPTIVE.match(body["model"]):
            # github.com/OpenHands/software-agent-sdk/pull/3427
            raise anthropic_error(
                '"thinking.type.enabled" is not supported for this model. Use '
                '"thinking.type.adaptive" and "output_config.effort" to control thinking behavior.'
            )
        budget = thinking.get("budget_tokens", 0)
        if budget < _LEAST_BUDGET:
            # github.com/themaximalist/llm.js/issues/30
            raise anthropic_error(
                "thinking.enabled.budget_tokens: Input should be greater than or equal to "
                f"{_LEAST_BUDGET}"
            )
        if body["max_tokens"] <= budget:
            # docs.claude.com/…/extended-thinking: less than max_tokens
            raise anthropic_error(
                "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our "
                "documentation at https://docs.claude.com/en/docs/build-with-claude/"
                "extended-thinking#max-tokens-and-context-window-size"
            )
    if body.get("temperature", 1) != 1:
        # github.com/MartialBE/one-hub/issues/529
        raise anthropic_error(
            "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode. "
            "Please consult our documentation at "
            "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
        )
    if "top_k" in body:
        raise anthropic_error("`top_k` must be unset when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        # github.com/can1357/oh-my-pi/issues/341
        raise anthropic_error("Thinking may not be enabled when tool_choice forces tool use.")


def _check_schema(body: Body) -> None:
    asked = body.get("output_format") or (body.get("output_config") or {}).get("format")
    if asked is not None and (fault := _schema_fault(asked["schema"])):
        raise anthropic_error(f"output_format.schema: {fault}")


# docs.claude.com/…/structured-outputs, «JSON schema limitations».
_NO_BOUNDS = ("minimum", "maximum", "multipleOf", "minLength", "maxLength", "maxItems")


def _schema_fault(schema: Any) -> str:
    if isinstance(schema, list):
        return next(filter(None, map(_schema_fault, schema)), "")
    if not isinstance(schema, dict):
        return ""
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return "For 'object' type, 'additionalProperties' must be explicitly set to false"
    if isinstance(kind := schema.get("type"), str):
        for name in _NO_BOUNDS:
            if name in schema:
                return f"For '{kind}' type, property '{name}' is not supported"
    return next(filter(None, map(_schema_fault, schema.values())), "")


def _blocks(said: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thoughts:
        blocks.append({"type": "thinking", "thinking": said.thoughts, "signature": SIGNATURE})
    if said.text:
        blocks.append({"type": "text", "text": said.text})
    if said.tool:
        call = {"id": "toolu_1", "name": said.tool, "input": json.loads(said.arguments)}
        blocks.append({"type": "tool_use", **call})
    return blocks


def _events(said: Answer, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    usage = message["usage"]
    started = {
        **message,
        "content": [],
        "stop_reason": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield {"type": "message_start", "message": started}
    for index, block in enumerate(message["content"]):
        pieces: list[dict[str, Any]]
        match block["type"]:
            case "thinking":
                opened = {"type": "thinking", "thinking": "", "signature": ""}
                pieces = [
                    {"type": "thinking_delta", "thinking": word} for word in words_of(said.thoughts)
                ]
                pieces.append({"type": "signature_delta", "signature": SIGNATURE})
            case "text":
                opened = {"type": "text", "text": ""}
                pieces = [{"type": "text_delta", "text": word} for word in words_of(said.text)]
            case _:
                opened = {**block, "input": {}}
                pieces = [
                    {"type": "input_json_delta", "partial_json": piece}
                    for piece in words_of(said.arguments)
                ]
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        for piece in pieces:
            yield {"type": "content_block_delta", "index": index, "delta": piece}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}
