"""OpenRouter: OpenAI's format for the models of many providers.

It leaves out what a model does not take, and tells the thoughts of all models in one form.
Source: openrouter.ai/docs (parameters, reasoning tokens, errors).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from helpers.provider_servers.model import Answer
from helpers.provider_servers.openai_chat import ChatServer
from helpers.provider_servers.openai_messages import schema_of
from helpers.provider_servers.server import Body, RefusedError
from helpers.provider_servers.strict_schema import schema_fault

_TAKEN = ("max_tokens", "reasoning", "include_reasoning", "response_format", "tools", "tool_choice")
_MODELS = {
    "openai/gpt-5.1": (*_TAKEN, "seed", "structured_outputs"),
    "openai/gpt-4o-mini": ("max_tokens", "temperature", "seed", "response_format", "tools"),
    "anthropic/claude-opus-4.5": (*_TAKEN, "temperature", "stop"),
    "qwen/qwen3-8b": (*_TAKEN, "temperature", "top_k", "seed"),
}


class OpenRouterServer(ChatServer):
    """`POST /api/v1/chat/completions` and `/api/v1/models`."""

    base_path = "/api/v1"
    reasoning_field = "reasoning"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/api/v1/chat/completions", self.chat)
        router.add_get("/api/v1/models", self.models)

    def check_key(self, headers: Mapping[str, str]) -> None:
        authorization = headers.get("Authorization")
        if not authorization:
            raise _error(401, "No auth credentials found")
        if authorization != f"Bearer {self.key}":
            # openrouter.ai/docs/api-reference/errors: 401
            raise _error(401, "User not found.")

    async def models(self, request: web.Request) -> web.Response:
        data = [
            {
                "id": name,
                "context_length": 128_000,
                "supported_parameters": list(taken),
                "pricing": {"prompt": "0.000001", "completion": "0.000002"},
            }
            for name, taken in _MODELS.items()
        ]
        return web.json_response({"data": data})

    def thinks(self, body: Body, model: str) -> bool:
        asked = body.get("reasoning") or {}
        if asked.get("enabled") is False or asked.get("effort") == "none":
            return False
        effort = body.get("reasoning_effort")
        if effort is not None:
            return effort != "none"
        return bool(asked) or "qwen3" in model

    def check(self, body: Body, model: str) -> None:
        if model not in _MODELS:
            # openrouter.ai/docs/api-reference/errors
            raise _error(404, f"No endpoints found for {model}.")
        asked = body.get("reasoning") or {}
        if "effort" in asked and "max_tokens" in asked:
            raise _error(400, 'Only one of "reasoning.effort" and "reasoning.max_tokens" allowed')
        wanted = (body.get("provider") or {}).get("require_parameters")
        unknown = body.keys() - {*_MODELS[model], "model", "messages", "stream", "provider"}
        if wanted and unknown:
            raise _error(404, "No endpoints found that can handle the requested parameters.")
        schema = schema_of(body)
        strict = schema and body["response_format"]["json_schema"].get("strict")
        if model.startswith("openai/") and strict and (fault := schema_fault(schema)):
            # github.com/moeru-ai/xsai/issues/202: the provider's error, wrapped.
            name = body["response_format"]["json_schema"]["name"]
            raw = f"Invalid schema for response_format '{name}': {fault}"
            error = {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}
            raise RefusedError(400, {"error": error})

    def completion(
        self, model: str, said: Sequence[Answer], usage: dict[str, Any]
    ) -> dict[str, Any]:
        usage = {**usage, "cost": 0.001}
        return {**super().completion(model, said, usage), "provider": "Fake"}


def _error(status: int, message: str) -> RefusedError:
    return RefusedError(status, {"error": {"message": message, "code": status}})
