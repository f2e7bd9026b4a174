"""Servers that people run themselves, with OpenAI's API: vLLM, SGLang and llama.cpp.

Sources: docs.vllm.ai (OpenAI-compatible server, structured outputs, reasoning outputs),
docs.sglang.ai (OpenAI APIs), github.com/ggml-org/llama.cpp/tree/master/tools/server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from helpers.provider_servers.model import tokens
from helpers.provider_servers.openai_chat import ChatServer
from helpers.provider_servers.openai_messages import question_of
from helpers.provider_servers.server import Body, RefusedError

_CONTEXT = 4096


class VLLMServer(ChatServer):
    """vLLM, started with a reasoning parser and with automatic tool choice.

    Args:
        model: the only model that it serves; one with `Qwen3` in its name thinks.
        tools: whether it was started with `--enable-auto-tool-choice`.
    """

    reasoning_field = "reasoning_content"
    owner = "vllm"

    def __init__(self, model: str, *, tools: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model
        self.tools = tools

    def check_key(self, headers: Mapping[str, str]) -> None:
        if headers.get("Authorization") != f"Bearer {self.key}":
            raise RefusedError(
                401, {"error": "Unauthorized"}
            )  # vllm/entrypoints/openai/api_server.py

    async def models(self, request: web.Request) -> web.Response:
        self.check_key(request.headers)
        card = {"id": self.model, "owned_by": self.owner, "max_model_len": _CONTEXT}
        return web.json_response({"object": "list", "data": [card]})

    def thinks(self, body: Body, model: str) -> bool:
        # Qwen3's template thinks unless it is told not to.
        asked = (body.get("chat_template_kwargs") or {}).get("enable_thinking", True)
        return "Qwen3" in model and bool(asked)

    def check(self, body: Body, model: str) -> None:
        if model != self.model:
            raise _error(404, f"The model `{model}` does not exist.", kind="NotFoundError")
        # vllm/entrypoints/openai/serving_engine.py: the reply must fit in the context.
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        prompt = tokens(question_of(body, sample=0).prompt)
        if limit is not None and limit > _CONTEXT - prompt:
            raise _error(
                400,
                f"'max_tokens' or 'max_completion_tokens' is too large: {limit}. This model's "
                f"maximum context length is {_CONTEXT} tokens and your request has {prompt} input "
                f"tokens ({limit} > {_CONTEXT} - {prompt}).",
            )
        if body.get("tool_choice", "auto") == "auto" and body.get("tools") and not self.tools:
            raise _error(
                400,
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to '
                "be set",
            )


class SGLangServer(VLLMServer):
    """SGLang, whose schemas are in `response_format`, and which knows no `structured_outputs`."""

    owner = "sglang"

    def check(self, body: Body, model: str) -> None:
        body.pop("structured_outputs", None)  # unknown fields have no effect
        super().check(body, model)


class LlamaCppServer(VLLMServer):
    """llama.cpp's server: schemas in `response_format`, grammars in `grammar`."""

    owner = "llamacpp"
    draws_samples = False

    def check_key(self, headers: Mapping[str, str]) -> None:
        if headers.get("Authorization") != f"Bearer {self.key}":
            # tools/server/server.cpp: middleware_validate_api_key
            raise _llama_error(401, "Invalid API Key", "authentication_error")

    def check(self, body: Body, model: str) -> None:
        body.pop("structured_outputs", None)  # unknown fields have no effect
        if (wanted := body.get("n", 1)) > 1:
            # as the server of xllamacpp 2026.10 answers, with one slot
            message = f"Field 'n': Value must be between 1 <= value <= 1, but got {wanted}"
            raise _llama_error(400, message, "invalid_request_error")
        if body.get("grammar") and body.get("response_format"):
            # tools/server/utils.hpp: oaicompat_chat_params_parse
            message = 'Cannot use both "json_schema" and "grammar"'
            raise _llama_error(400, message, "invalid_request_error")


def _error(status: int, message: str, *, kind: str = "BadRequestError") -> RefusedError:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return RefusedError(status, {"error": error})


def _llama_error(status: int, message: str, kind: str) -> RefusedError:
    return RefusedError(status, {"error": {"code": status, "message": message, "type": kind}})
