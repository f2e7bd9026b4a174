"""OpenAI: the chat completions API, and the Responses API with what it refuses.

Source: platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web
from helpers.provider_servers.model import Answer, Question, tokens, words_of
from helpers.provider_servers.openai_chat import (
    MODELS,
    THINKING,
    ChatServer,
    openai_error,
)
from helpers.provider_servers.server import Body, named_event, names, send_events
from helpers.provider_servers.strict_schema import schema_fault

_KNOWN = names(
    """
    model input instructions max_output_tokens temperature top_p stream stream_options text tools
    tool_choice reasoning store include metadata parallel_tool_calls previous_response_id
    service_tier truncation user prompt_cache_key prompt_cache_retention safety_identifier
    max_tool_calls background conversation top_logprobs prompt
    """
)
_LEAST_OUTPUT = 16


class OpenAIServer(ChatServer):
    """`POST /v1/responses` beside `/v1/chat/completions`."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        super().add_routes(router)
        router.add_post("/v1/responses", self.responses)

    async def responses(self, request: web.Request) -> web.StreamResponse:
        body = await self.accept(request)
        _check(body)
        self.record(request, body)
        thinks = bool(THINKING.match(body["model"]))
        sample = self.sample_number(body, greedy=body.get("temperature") == 0)
        question = _question(body, sample)
        said = self.say(question, thinks=thinks, limit=body.get("max_output_tokens"))
        cached = self.knows_prefix(question.turns[0])
        response = _response(body["model"], question, said, cached=cached)
        if body.get("stream"):
            events = (named_event(event["type"], event) for event in _events(said, response))
            return await send_events(request, events)
        return web.json_response(response)


def _check(body: Body) -> None:
    if unknown := sorted(body.keys() - _KNOWN):
        # litellm/llms/openai/responses/transformation.py: «Unknown parameter»
        raise openai_error(
            f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter"
        )
    if unknown := sorted((body.get("stream_options") or {}).keys() - {"include_obfuscation"}):
        name = f"stream_options.{unknown[0]}"
        raise openai_error(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    model = body["model"]
    if not MODELS.match(model):
        raise openai_error(
            f"The requested model '{model}' does not exist.", code="model_not_found", param="model"
        )
    limit = body.get("max_output_tokens")
    if limit is not None and limit < _LEAST_OUTPUT:
        raise openai_error(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= "
            f"{_LEAST_OUTPUT}, but got {limit} instead.",
            param="max_output_tokens",
            code="integer_below_min_value",
        )
    if THINKING.match(model):
        for name in ("temperature", "top_p"):
            if name in body:
                # github.com/OpenHands/software-agent-sdk/issues/1837
                raise openai_error(
                    f"Unsupported parameter: '{name}' is not supported with this model.", param=name
                )
    asked = (body.get("text") or {}).get("format") or {}
    if asked.get("strict") and (fault := schema_fault(asked["schema"])):
        raise openai_error(
            f"Invalid schema for response_format '{asked['name']}': {fault}",
            param="text.format.schema",
            code="invalid_json_schema",
        )


def _question(body: Body, sample: int) -> Question:
    turns, media = [], 0
    if body.get("instructions"):
        turns.append(body["instructions"])
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        content = item.get("content", item.get("output", item.get("arguments", "")))
        parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
        turns.append("".join(part.get("text", "") for part in parts or ()))
        media += sum(part["type"] in ("input_image", "input_file") for part in parts or ())
    tools = {tool["name"]: tool["parameters"] for tool in body.get("tools") or ()}
    choice = body.get("tool_choice")
    must_call = choice["name"] if isinstance(choice, dict) else ""
    if choice == "required" and tools:
        must_call = next(iter(tools))
    schema = ((body.get("text") or {}).get("format") or {}).get("schema")
    return Question(
        turns=tuple(turns),
        media=media,
        schema=schema,
        tools={} if choice == "none" else tools,
        must_call=must_call,
        sample=sample,
    )


def _response(model: str, question: Question, said: Answer, *, cached: bool) -> dict[str, Any]:
    prompt = tokens(question.prompt)
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": tokens(question.turns[0]) if cached else 0},
        "output_tokens": said.tokens,
        "output_tokens_details": {"reasoning_tokens": said.thought_tokens},
        "total_tokens": prompt + said.tokens,
    }
    incomplete = {"reason": "max_output_tokens"} if said.cut else None
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "incomplete" if said.cut else "completed",
        "incomplete_details": incomplete,
        "error": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": _output(said),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage,
    }


def _output(said: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thoughts:  # a summary is shown only if it is asked for
        items.append({"type": "reasoning", "id": "rs_1", "summary": []})
    if said.tool:
        call = {"name": said.tool, "arguments": said.arguments, "call_id": "call_1"}
        items.append({"type": "function_call", "id": "fc_1", "status": "completed", **call})
    else:
        content = _content(said)
        about = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        items.append({**about, "content": [content]})
    return items


def _content(said: Answer) -> dict[str, Any]:
    if said.declined:
        return {"type": "refusal", "refusal": said.declined}
    return {"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}


def _events(said: Answer, response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    number = 0

    def event(name: str, **about: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        return {"type": f"response.{name}", "sequence_number": number, **about}

    started = {**response, "status": "in_progress", "output": [], "usage": None}
    yield event("created", response=started)
    yield event("in_progress", response=started)
    for index, item in enumerate(response["output"]):
        opened = {**item, "status": "in_progress"}
        if item["type"] == "message":
            opened["content"] = []
        if item["type"] == "function_call":
            opened["arguments"] = ""
        yield event("output_item.added", output_index=index, item=opened)
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            part = item["content"][0]
            inner = {**place, "content_index": 0}
            kind, name = ("refusal", "refusal") if said.declined else ("output_text", "text")
            yield event("content_part.added", **inner, part={**part, name: ""})
            for word in words_of(part[name]):
                yield event(f"{kind}.delta", **inner, delta=word)
            yield event(f"{kind}.done", **inner, **{name: part[name]})
            yield event("content_part.done", **inner, part=part)
        if item["type"] == "function_call":
            for piece in words_of(said.arguments):
                yield event("function_call_arguments.delta", **place, delta=piece)
            yield event("function_call_arguments.done", **place, arguments=said.arguments)
        yield event("output_item.done", output_index=index, item=item)
    yield event("incomplete" if said.cut else "completed", response=response)
