"""The local servers of providers refuse what the real ones refuse, in their words."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from helpers.provider_servers.anthropic_messages import SIGNATURE
from helpers.provider_servers.anthropic_server import AnthropicServer
from helpers.provider_servers.azure_server import AzureServer
from helpers.provider_servers.bedrock_server import BedrockServer
from helpers.provider_servers.every import CODER, QWEN3
from helpers.provider_servers.gemini_server import GeminiServer
from helpers.provider_servers.mistral_server import MistralServer
from helpers.provider_servers.ollama_server import OllamaServer
from helpers.provider_servers.openai_server import OpenAIServer
from helpers.provider_servers.openrouter_server import OpenRouterServer
from helpers.provider_servers.server import ProviderServer
from helpers.provider_servers.vllm_server import LlamaCppServer, VLLMServer

HI = [{"role": "user", "content": "hi"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def answer(
    server: ProviderServer, path: str, body: dict[str, Any], *, key: str = ""
) -> tuple[int, str]:
    """Send a request with the right key, or another one; returns the status and the body."""
    key = key or server.key
    headers = {
        "Authorization": f"Bearer {key}",
        "api-key": key,
        "x-api-key": key,
        "x-goog-api-key": key,
        "anthropic-version": "2023-06-01",
    }
    url = f"http://127.0.0.1:{server.port}{path}"
    asked = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "r", "strict": True, "schema": schema}}


OPEN = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
LOOSE = {**OPEN, "required": [], "additionalProperties": False}

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        ("o3", {"max_tokens": 9}, "'max_tokens' is not supported with this model. Use 'max_comple"),
        ("gpt-5.1", {"max_tokens": 9}, "'max_tokens' is not supported"),
        ("o3", {"temperature": 0}, "'temperature' does not support 0 with this model"),
        ("gpt-5", {"temperature": 0.7}, "'temperature' does not support 0.7"),
        ("gpt-5.1", {"temperature": 0, "reasoning_effort": "low"}, "'temperature' does not"),
        ("o3", {"top_p": 0.5}, "'top_p' is not supported"),
        ("o3", {"stop": ["x"]}, "'stop' is not supported"),
        ("o3", {"parallel_tool_calls": True}, "'parallel_tool_calls' is not supported"),
        ("o3", {"reasoning_effort": "none"}, "'reasoning_effort' does not support 'none'"),
        ("gpt-4o", {"reasoning_effort": "low"}, "argument supplied: reasoning_effort"),
        ("gpt-4o", {"top_k": 5}, "Unrecognized request argument supplied: top_k"),
        ("gpt-4o", {"stream_options": {}}, "only allowed when 'stream' is enabled"),
        ("gpt-4o", {"messages": []}, "empty array"),
        ("gpt-4o", {"messages": [*HI, {"role": "tool", "content": "x"}]}, "must be a response to"),
        ("gpt-4o", {"response_format": schema_format(OPEN)}, "'additionalProperties' is required"),
        ("gpt-4o", {"response_format": schema_format(LOOSE)}, "Missing 'a'"),
        ("o3-pro", {}, "only supported in v1/responses"),
        ("gpt-99", {}, "does not exist or you do not have access"),
    ],
)
def test_openai_refuses(model: str, fields: dict[str, Any], words: str) -> None:
    with OpenAIServer() as server:
        status, text = answer(server, CHAT, {"model": model, "messages": HI, **fields})
    assert status in (400, 404)
    assert words in json.loads(text)["error"]["message"]


def test_gpt_5_1_takes_a_temperature_as_long_as_it_does_not_think() -> None:
    with OpenAIServer() as server:
        body = {"model": "gpt-5.1", "messages": HI, "temperature": 0}
        assert answer(server, CHAT, body)[0] == 200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": 1}, "Unknown parameter: 'seed'"),
        ({"messages": HI}, "Unknown parameter: 'messages'"),
        ({"stream_options": {"include_usage": True}}, "'stream_options.include_usage'"),
        ({"temperature": 0}, "'temperature' is not supported"),
        ({"max_output_tokens": 7}, "Expected a value >= 16, but got 7"),
        ({"model": "gpt-99"}, "'gpt-99' does not exist"),
    ],
)
def test_the_responses_api_refuses(fields: dict[str, Any], words: str) -> None:
    with OpenAIServer() as server:
        status, text = answer(server, "/v1/responses", {"model": "o3-pro", "input": "hi", **fields})
    assert status == 400
    assert words in json.loads(text)["error"]["message"]


def test_azure_refuses_an_address_without_a_version() -> None:
    with AzureServer() as server:
        status, text = answer(server, "/openai/deployments/m/chat/completions", {"messages": HI})
    assert (status, json.loads(text)["error"]["message"]) == (404, "Resource not found")


def test_azure_refuses_an_unknown_deployment() -> None:
    path = "/openai/deployments/no-such/chat/completions?api-version=2024-10-21"
    with AzureServer() as server:
        status, text = answer(server, path, {"messages": HI})
    assert (status, json.loads(text)["error"]["code"]) == (404, "DeploymentNotFound")


THINKING = {"type": "enabled", "budget_tokens": 1024}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "forged"}
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


def after_a_call(*blocks: dict[str, Any], result: dict[str, Any] = RESULT) -> list[dict[str, Any]]:
    """A conversation whose last turn is the result of a tool."""
    return [
        *HI,
        {"role": "assistant", "content": [*blocks, USE]},
        {"role": "user", "content": [result]},
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": 1}, "seed: Extra inputs are not permitted"),
        ({"max_tokens": 99_999}, "99999 > 64000, which is the maximum allowed number of output"),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"temperature": 0, "top_p": 0.5}, "`temperature` and `top_p` cannot both be specified"),
        ({"thinking": {**THINKING, "budget_tokens": 512}}, "greater than or equal to 1024"),
        ({"thinking": THINKING, "max_tokens": 1024}, "must be greater than `thinking.budget_tok"),
        ({"thinking": THINKING, "temperature": 0}, "may only be set to 1 when thinking is enabled"),
        (
            {"thinking": THINKING, "tool_choice": {"type": "any"}},
            "may not be enabled when tool_choice forces tool use",
        ),
        (
            {"thinking": THINKING, "messages": after_a_call()},
            "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
        ),
        (
            {"thinking": THINKING, "messages": after_a_call(THOUGHT)},
            "Invalid `signature` in `thinking` block",
        ),
        (
            {"messages": [*HI, {"role": "assistant", "content": [USE]}, *HI]},
            "`tool_use` ids were found without `tool_result` blocks immediately after: t1",
        ),
        ({"messages": []}, "at least one message is required"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, 'must use the "user" role'),
        (
            {"messages": [*HI, {"role": "system", "content": "hi"}]},
            "messages.1.role: Input should be",
        ),
        ({"messages": [{"role": "user", "content": " "}]}, "blocks must be non-empty"),
        ({"system": [MARKED] * 5}, "A maximum of 4 blocks with cache_control"),
        (
            {"output_format": {"type": "json_schema", "schema": OPEN}},
            "'additionalProperties' must be explicitly set to false",
        ),
        ({"model": "claude-99"}, "model: claude-99"),
        ({"model": "claude-opus-4-7", "temperature": 1}, "`temperature` is deprecated"),
        ({"model": "claude-opus-4-7", "thinking": THINKING}, "is not supported for this model"),
    ],
)
def test_anthropic_refuses(fields: dict[str, Any], words: str) -> None:
    body = {"model": "claude-opus-4-5", "messages": HI, "max_tokens": 2048, **fields}
    with AnthropicServer() as server:
        status, text = answer(server, "/v1/messages", body)
    assert status in (400, 404)
    assert words in json.loads(text)["error"]["message"]


def test_anthropic_wants_a_limit() -> None:
    with AnthropicServer() as server:
        status, text = answer(server, "/v1/messages", {"model": "claude-opus-4-5", "messages": HI})
    assert (status, json.loads(text)["error"]["message"]) == (400, "max_tokens: Field required")


def test_anthropic_takes_its_own_thoughts_back() -> None:
    turns = after_a_call({**THOUGHT, "signature": SIGNATURE})
    body = {"model": "claude-opus-4-5", "max_tokens": 2048, "thinking": THINKING, "messages": turns}
    with AnthropicServer() as server:
        assert answer(server, "/v1/messages", body)[0] == 200


CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


def gemini(**config: Any) -> dict[str, Any]:
    return {"generationConfig": config}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": 1}, 'Unknown name "seed": Cannot find field'),
        (gemini(best_of=1), "Unknown name \"bestOf\" at 'generation_config'"),
        (gemini(responseSchema=LOOSE), 'Unknown name "additionalProperties" at'),
        (gemini(thinkingConfig={"thinkingBudget": 0}), "Budget 0 is invalid"),
        (gemini(thinkingConfig={"thinkingBudget": 99_999}), "budget (99999) is invalid"),
        (gemini(thinkingConfig={"thinkingLevel": "low"}), "Thinking level is not supported"),
        (gemini(presencePenalty=0.5), "Penalty is not enabled"),
        (
            {"tools": [{}], **gemini(responseMimeType="application/json")},
            "Function calling with a response mime type",
        ),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{**CONTENTS[0], "role": "assistant"}]}, "valid role: user, model"),
    ],
)
def test_gemini_refuses(fields: dict[str, Any], words: str) -> None:
    path = "/v1beta/models/gemini-2.5-pro:generateContent"
    with GeminiServer() as server:
        status, text = answer(server, path, {"contents": CONTENTS, **fields})
    assert status == 400
    assert words in json.loads(text)["error"]["message"]


CLAUDE = "us.anthropic.claude-opus-4-5-20251101-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
TURNS = [{"role": "user", "content": [{"text": "hi"}]}]


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        (CLAUDE, {"additionalModelRequestFields": {"seed": 1}}, "seed: Extra inputs are not"),
        (NOVA, {"additionalModelRequestFields": {"seed": 1}}, "extraneous key [seed]"),
        (CLAUDE, {"inferenceConfig": {"temperature": 1.5}}, "less than or equal to 1"),
        (CLAUDE, {"inferenceConfig": {"seed": 1}}, "inferenceConfig.seed"),
        (
            CLAUDE,
            {
                "inferenceConfig": {"temperature": 0},
                "additionalModelRequestFields": {"thinking": THINKING},
            },
            "may only be set to 1 when thinking",
        ),
        (CLAUDE, {"messages": [{**TURNS[0], "role": "assistant"}]}, "must start with a user mess"),
        (CLAUDE, {"messages": TURNS * 2}, "must alternate between user and assistant"),
        (CLAUDE, {"messages": [{"role": "user", "content": [{"text": ""}]}]}, "is blank"),
        (CLAUDE.removeprefix("us."), {}, "on-demand throughput"),
        ("claude", {}, "model identifier is invalid"),
    ],
)
def test_bedrock_refuses(model: str, fields: dict[str, Any], words: str) -> None:
    with BedrockServer() as server:
        status, text = answer(server, f"/model/{model}/converse", {"messages": TURNS, **fields})
    assert status == 400
    assert words in json.loads(text)["message"]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"seed": 1}, 422, '"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"'),
        ({"stream_options": {}}, 422, '"loc": ["body", "stream_options"]'),
        (
            {"messages": [{**HI[0], "cache_control": {}}]},
            422,
            '"loc": ["body", "messages", 0, "user", "cache_control"]',
        ),
        ({"messages": [*HI, {"role": "assistant", "content": "x"}]}, 400, "Expected last role"),
        ({"messages": [*HI, {"role": "system", "content": "x"}]}, 400, "after role 'user'"),
        ({"messages": [*HI, {"role": "assistant", "tool_calls": [CALL]}]}, 400, "length of 9"),
        ({"model": "gpt-4o"}, 400, "Invalid model: gpt-4o"),
    ],
)
def test_mistral_refuses(fields: dict[str, Any], status: int, words: str) -> None:
    body = {"model": "mistral-large-latest", "messages": HI, **fields}
    with MistralServer() as server:
        found, text = answer(server, CHAT, body)
    assert found == status
    assert words in text


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "openai/gpt-99"}, 404, "No endpoints found for openai/gpt-99"),
        ({"reasoning": {"effort": "low", "max_tokens": 9}}, 400, "Only one of"),
        ({"response_format": schema_format(OPEN)}, 400, "Provider returned error"),
        (
            {"stop": ["x"], "provider": {"require_parameters": True}},
            404,
            "can handle the requested parameters",
        ),
    ],
)
def test_openrouter_refuses(fields: dict[str, Any], status: int, words: str) -> None:
    body = {"model": "openai/gpt-5.1", "messages": HI, **fields}
    with OpenRouterServer() as server:
        found, text = answer(server, "/api/v1/chat/completions", body)
    assert (found, json.loads(text)["error"]["code"]) == (status, status)
    assert words in text


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "llama99"}, 404, "model 'llama99' not found"),
        ({"model": "gemma2", "tools": [TOOL]}, 400, "does not support tools"),
        ({"model": "llama3.1", "think": True}, 400, "does not support thinking"),
    ],
)
def test_ollama_refuses(path: str, fields: dict[str, Any], status: int, words: str) -> None:
    with OllamaServer() as server:
        found, text = answer(server, path, {"messages": HI, **fields})
    assert found == status
    assert words in json.loads(text)["error"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"max_tokens": 5000},
            "length is 4096 tokens and your request has 1 input",
        ),
        ({"tools": [TOOL]}, "requires --enable-auto-tool-choice"),
        ({"model": "other"}, "The model `other` does not exist"),
    ],
)
def test_vllm_refuses(fields: dict[str, Any], words: str) -> None:
    with VLLMServer(QWEN3, tools=False) as server:
        _, text = answer(server, CHAT, {"model": QWEN3, "messages": HI, **fields})
    assert words in json.loads(text)["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"grammar": "root ::= x", "response_format": schema_format(LOOSE)},
            'Cannot use both "json_schema" and "grammar"',
        ),
        ({"n": 3}, "Field 'n': Value must be between 1 <= value <= 1, but got 3"),
    ],
)
def test_llama_cpp_refuses(fields: dict[str, Any], words: str) -> None:
    with LlamaCppServer(CODER) as server:
        status, text = answer(server, CHAT, {"model": CODER, "messages": HI, **fields})
    assert (status, json.loads(text)["error"]["message"]) == (400, words)


@pytest.mark.parametrize(
    ("server", "path", "status"),
    [
        (OpenAIServer(), CHAT, 401),
        (OpenAIServer(), "/v1/responses", 401),
        (AzureServer(), "/openai/deployments/gpt-5.1/chat/completions", 401),
        (AnthropicServer(), "/v1/messages", 401),
        (GeminiServer(), "/v1beta/models/gemini-2.5-pro:generateContent", 400),
        (BedrockServer(), f"/model/{CLAUDE}/converse", 403),
        (MistralServer(), CHAT, 401),
        (OpenRouterServer(), "/api/v1/chat/completions", 401),
        (VLLMServer(QWEN3), CHAT, 401),
        (LlamaCppServer(CODER), CHAT, 401),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ProviderServer) else "",
)
def test_a_wrong_key_is_refused(server: ProviderServer, path: str, status: int) -> None:
    with server:
        assert answer(server, path, {"model": "any", "messages": HI}, key="sk-wrong")[0] == status
    assert not server.received
