"""OpenAI's chat completions API, with what its models refuse.

Sources: the API reference (platform.openai.com/docs/api-reference/chat), the guide to reasoning
models (…/docs/guides/reasoning), and public issues that quote the errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web
from helpers.provider_servers.model import Answer, words_of
from helpers.provider_servers.openai_messages import (
    finish_of,
    message_of,
    question_of,
    usage_of,
)
from helpers.provider_servers.server import (
    Body,
    ProviderServer,
    RefusedError,
    data_event,
    names,
    send_events,
)
from helpers.provider_servers.strict_schema import schema_fault

# The parameters in the API reference.
_KNOWN = names(
    """
    model messages temperature top_p n max_tokens max_completion_tokens stop seed stream
    stream_options response_format tools tool_choice parallel_tool_calls reasoning_effort verbosity
    logprobs top_logprobs presence_penalty frequency_penalty logit_bias user metadata store
    service_tier modalities audio prediction prompt_cache_key prompt_cache_retention
    safety_identifier web_search_options functions function_call
    """
)
MODELS = re.compile(r"(gpt-4o|gpt-4\.1|gpt-5|o1|o3|o4)\b")
THINKING = re.compile(r"(o\d|gpt-5(?!-chat))")
_NEW_GPT_5 = re.compile(r"gpt-5\.[1-9]")
_ONLY_RESPONSES = re.compile(r"(o\d-pro|gpt-5(\.\d)?-pro|gpt-5(\.\d)?-codex)")
_NO_SAMPLING = ("top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")


def openai_error(
    message: str, *, param: str | None = None, code: str | None = None, status: int = 400
) -> RefusedError:
    """An error in the form in which OpenAI answers."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return RefusedError(status, {"error": error})


def unsupported(name: str, advice: str = "") -> RefusedError:
    # github.com/griptape-ai/ComfyUI-Griptape/issues/312, github.com/crewAIInc/crewAI/issues/2738
    message = f"Unsupported parameter: '{name}' is not supported with this model.{advice}"
    return openai_error(message, param=name, code="unsupported_parameter")


class ChatServer(ProviderServer):
    """`POST /v1/chat/completions` and `/v1/models`."""

    base_path = "/v1"
    # The field in which the thoughts are shown; OpenAI shows none.
    reasoning_field: str | None = None
    seed_field = "seed"
    draws_samples = True  # whether it takes `n`

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/chat/completions", self.chat)
        router.add_get("/v1/models", self.models)

    def check_key(self, headers: Mapping[str, str]) -> None:
        key = headers.get("Authorization", "").removeprefix("Bearer ")
        if key != self.key:
            # platform.openai.com/docs/guides/error-codes: "Incorrect API key provided".
            raise openai_error(
                f"Incorrect API key provided: {key[:2]}***. You can find your API key at "
                "https://platform.openai.com/account/api-keys.",
                code="invalid_api_key",
                status=401,
            )

    async def models(self, request: web.Request) -> web.Response:
        self.check_key(request.headers)
        return web.json_response({"data": [{"id": "gpt-4o-mini", "owned_by": "system"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await self.accept(request)
        model = self.model_of(request, body)
        self.check(body, model)
        self.record(request, body)
        thinks = self.thinks(body, model)
        sample = self.sample_number(body, greedy=body.get("temperature") == 0)
        question = question_of(body, sample=body.get(self.seed_field) or sample)
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        drawn = body.get("n", 1) if self.draws_samples else 1
        said = [
            self.say(replace(question, sample=question.sample + i), thinks=thinks, limit=limit)
            for i in range(drawn)
        ]
        usage = usage_of(question, said, cached=self.knows_prefix(question.turns[0]))
        if body.get("stream"):
            chunks = self.chunks(model, said[0], usage if self.streams_usage(body) else None)
            return await send_events(request, [*map(data_event, chunks), b"data: [DONE]\n\n"])
        return web.json_response(self.completion(model, said, usage))

    def model_of(self, request: web.Request, body: Body) -> str:
        return str(body["model"])

    def thinks(self, body: Body, model: str) -> bool:
        if not THINKING.match(model):
            return False
        # gpt-5.1 and later do not think unless asked (…/docs/models/gpt-5.1: the default is none).
        effort = body.get("reasoning_effort", "none" if _NEW_GPT_5.match(model) else "medium")
        return effort != "none"

    def streams_usage(self, body: Body) -> bool:
        return bool((body.get("stream_options") or {}).get("include_usage"))

    def completion(
        self, model: str, said: Sequence[Answer], usage: dict[str, Any]
    ) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": message_of(answer, reasoning=self.reasoning_field),
                "finish_reason": finish_of(answer),
            }
            for index, answer in enumerate(said)
        ]
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": choices,
            "usage": usage,
        }

    def chunks(
        self, model: str, said: Answer, usage: dict[str, Any] | None
    ) -> Iterator[dict[str, Any]]:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if self.reasoning_field:
            deltas += [{self.reasoning_field: word} for word in words_of(said.thoughts)]
        deltas += [{"content": word} for word in words_of(said.text)]
        deltas += [{"refusal": word} for word in words_of(said.declined)]
        if said.tool:
            call = {"index": 0, "id": "call_1", "type": "function"}
            named = {"function": {"name": said.tool, "arguments": ""}}
            deltas.append({"tool_calls": [{**call, **named}]})
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
                for piece in words_of(said.arguments)
            ]
        for delta in deltas:
            yield {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        end = {"index": 0, "delta": {}, "finish_reason": finish_of(said)}
        yield {**base, "choices": [end]}
        if usage is not None:
            yield {**base, "choices": [], "usage": usage}

    def check(self, body: Body, model: str) -> None:
        """Refuse what OpenAI refuses."""
        if unknown := sorted(body.keys() - _KNOWN):
            # the API takes only the fields of its reference
            raise openai_error(f"Unrecognized request argument supplied: {unknown[0]}")
        if not MODELS.match(model):
            raise openai_error(
                f"The model `{model}` does not exist or you do not have access to it.",
                code="model_not_found",
                status=404,
            )
        if _ONLY_RESPONSES.match(model):
            # platform.openai.com/docs/models/o3-pro: in the Responses API only.
            raise openai_error(
                "This model is only supported in v1/responses and not in v1/chat/completions.",
                param="model",
                status=404,
            )
        if "stream_options" in body and not body.get("stream"):
            raise openai_error(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
                param="stream_options",
            )
        if THINKING.match(model):
            self._check_thinking(body, model)
        elif "reasoning_effort" in body:
            raise openai_error("Unrecognized request argument supplied: reasoning_effort")
        check_messages(body)
        check_format(body)

    def _check_thinking(self, body: Body, model: str) -> None:
        if "max_tokens" in body:
            raise unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
        if self.thinks(body, model):
            if body.get("temperature", 1) != 1:
                # github.com/QwenLM/qwen-code/issues/921
                raise openai_error(
                    f"Unsupported value: 'temperature' does not support {body['temperature']} with "
                    "this model. Only the default (1) value is supported.",
                    param="temperature",
                    code="unsupported_value",
                )
            for name in _NO_SAMPLING:
                if name in body:
                    raise unsupported(name)
        if "stop" in body:
            raise unsupported("stop")
        if "parallel_tool_calls" in body and re.match(r"o\d", model):
            raise unsupported("parallel_tool_calls")
        efforts = ["low", "medium", "high"]
        efforts += ["none"] if _NEW_GPT_5.match(model) else []
        efforts += ["minimal"] if re.match(r"gpt-5(?!\.)", model) else []
        if (effort := body.get("reasoning_effort")) is not None and effort not in efforts:
            # platform.openai.com/docs/guides/reasoning: which models take which efforts.
            raise openai_error(
                f"Unsupported value: 'reasoning_effort' does not support '{effort}' with this "
                f"model. Supported values are: {', '.join(map(repr, efforts))}.",
                param="reasoning_effort",
                code="unsupported_value",
            )


def check_messages(body: Body) -> None:
    """Refuse messages that OpenAI's API refuses."""
    messages = body.get("messages")
    if not messages:
        raise openai_error(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            param="messages",
            code="empty_array",
        )
    before: Mapping[str, Any] = {}
    for number, message in enumerate(messages):
        if message["role"] == "tool" and not (before.get("tool_calls") or before["role"] == "tool"):
            # platform.openai.com/docs/guides/function-calling: after the call, its output
            raise openai_error(
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                "message with 'tool_calls'.",
                param=f"messages.[{number}].role",
            )
        before = message


def check_format(body: Body) -> None:
    """Refuse schemas that OpenAI's structured outputs refuse."""
    asked = (body.get("response_format") or {}).get("json_schema")
    if asked is None:
        return
    if not re.fullmatch(r"[\w-]{1,64}", asked.get("name", "")):
        raise openai_error(
            f"Invalid 'response_format.json_schema.name': {asked.get('name')!r}.",
            param="response_format.json_schema.name",
        )
    if asked.get("strict") and (fault := schema_fault(asked["schema"])):
        # github.com/dottxt-ai/outlines/issues/844
        raise openai_error(
            f"Invalid schema for response_format '{asked['name']}': {fault}",
            param="response_format",
        )
