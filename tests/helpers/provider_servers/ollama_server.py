"""Ollama: its own API (`/api/chat`), and OpenAI's (`/v1/chat/completions`).

Source: github.com/ollama/ollama/blob/main/docs/api.md, and its server/routes.go for the errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web
from helpers.provider_servers.model import Answer, Question, tokens, words_of
from helpers.provider_servers.openai_chat import ChatServer
from helpers.provider_servers.server import Body, RefusedError, send_events

# The models, and what their templates know.
_MODELS: Mapping[str, frozenset[str]] = {
    "llama3.1": frozenset({"tools"}),
    "qwen3": frozenset({"tools", "thinking"}),
    "gemma2": frozenset(),
}


class OllamaServer(ChatServer):
    """Ollama, which asks for no key."""

    base_path = ""
    reasoning_field = "reasoning"
    draws_samples = False

    def add_routes(self, router: web.UrlDispatcher) -> None:
        super().add_routes(router)
        router.add_post("/api/chat", self.native)
        router.add_post("/api/show", self.show)

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Every key is right."""

    async def models(self, request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model", "owned_by": "library"} for name in _MODELS]
        return web.json_response({"object": "list", "data": data})

    async def show(self, request: web.Request) -> web.Response:
        name = _model(await request.json())
        able = ["completion", *_able(name)]
        info = {"general.architecture": "llama", "llama.context_length": 8192}
        return web.json_response({"capabilities": able, "model_info": info, "template": ""})

    def thinks(self, body: Body, model: str) -> bool:
        asked = body.get("think", body.get("reasoning_effort") != "none")
        return "thinking" in _able(model) and bool(asked)

    def check(self, body: Body, model: str) -> None:
        _check(body, model)

    async def native(self, request: web.Request) -> web.StreamResponse:
        body = await self.accept(request)
        model = _model(body)
        _check(body, model)
        self.record(request, body)
        options = body.get("options", {})
        sample = self.sample_number(body, greedy=options.get("temperature") == 0)
        question = _question(body, options.get("seed") or sample)
        thinks = self.thinks(body, model)
        said = self.say(question, thinks=thinks, limit=options.get("num_predict"))
        lines = list(_lines(model, question, said))
        if body.get("stream", True):
            packed = (json.dumps(line).encode() + b"\n" for line in lines)
            return await send_events(request, packed, "application/x-ndjson")
        return web.json_response({**lines[-1], "message": _message(said)})


def _model(body: Body) -> str:
    return str(body.get("model") or body.get("name")).removesuffix(":latest")


def _able(model: str) -> frozenset[str]:
    if model not in _MODELS:
        raise RefusedError(404, {"error": f"model '{model}' not found"})
    return _MODELS[model]


def _check(body: Body, model: str) -> None:
    able = _able(model)
    if body.get("tools") and "tools" not in able:
        raise RefusedError(
            400, {"error": f"registry.ollama.ai/library/{model}:latest does not support tools"}
        )
    if body.get("think") and "thinking" not in able:
        raise RefusedError(400, {"error": f'"{model}" does not support thinking'})


def _question(body: Body, sample: int) -> Question:
    functions = [tool["function"] for tool in body.get("tools") or ()]
    form = body.get("format")
    return Question(
        turns=tuple(message.get("content", "") for message in body["messages"]),
        media=sum(len(message.get("images") or ()) for message in body["messages"]),
        schema=form if isinstance(form, dict) else None,
        tools={function["name"]: function["parameters"] for function in functions},
        sample=sample,
    )


def _message(said: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text}
    if said.thoughts:
        message["thinking"] = said.thoughts
    if said.tool:
        call = {"name": said.tool, "arguments": json.loads(said.arguments)}
        message["tool_calls"] = [{"function": call}]
    return message


def _lines(model: str, question: Question, said: Answer) -> Iterator[dict[str, Any]]:
    base = {"model": model, "created_at": "2025-01-01T00:00:00Z"}
    for word in words_of(said.thoughts):
        message = {"role": "assistant", "content": "", "thinking": word}
        yield {**base, "message": message, "done": False}
    for word in words_of(said.text):
        yield {**base, "message": {"role": "assistant", "content": word}, "done": False}
    if said.tool:
        called = _message(Answer("", "", said.tool, said.arguments))
        yield {**base, "message": called, "done": False}
    yield {
        **base,
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "length" if said.cut else "stop",
        "prompt_eval_count": tokens(question.prompt),
        "eval_count": said.tokens,
    }
