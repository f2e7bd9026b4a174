"""What each kind of server gets for a model's settings: thoughts, limits, marks of the prefix."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from helpers.recording_server import recording

from lmpipe.errors import LMError
from lmpipe.lm.cache_key import Prefix
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.providers import open_provider
from lmpipe.lm.request import Request

pytestmark = pytest.mark.filterwarnings("ignore")  # what litellm itself does is not under test

needs_litellm = pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is missing")

DEMO = (Message("user", "2 + 2"), Message("assistant", "4"))
MESSAGES = (Message("system", "be brief"), *DEMO, Message("user", "3 + 3"))
CLAUDE = "anthropic/claude-opus-4-5"
BEDROCK = "bedrock/us.anthropic.claude-opus-4-5-20251101-v1:0"
VLLM = "vllm/Qwen/Qwen3-8B"
MARK = {"cache_control": {"type": "ephemeral"}}

AMAZON = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION_NAME": "us-east-1",
}


@pytest.fixture(autouse=True)
def _amazon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AMAZON.items():
        monkeypatch.setenv(name, value)


async def sent(model: str, prefix: Prefix | None = None, **settings: Any) -> tuple[str, Any]:
    """Send a request to a server that answers with nothing; returns the path and the body."""
    async with recording({}) as server:
        lm = LM(model, base_url=server.url, api_key="sk-12345678", **settings)
        provider = open_provider(lm)
        with pytest.raises((LMError, Exception)):
            await provider.complete(Request(lm, MESSAGES, prefix=prefix))
        await provider.aclose()
        return server.paths[0], server.bodies[0]


# --- servers with OpenAI's API


@pytest.mark.parametrize(
    ("model", "reasoning", "expected"),
    [
        ("openai/gpt-5.1", "low", {"reasoning_effort": "low"}),
        ("openai/o3", 3000, {"reasoning_effort": "medium"}),
        ("openai/o3", None, {}),
        (VLLM, "none", {"chat_template_kwargs": {"enable_thinking": False}}),
        (
            VLLM,
            "high",
            {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"},
        ),
        (
            VLLM,
            500,
            {"chat_template_kwargs": {"enable_thinking": True}, "thinking_token_budget": 500},
        ),
        (VLLM, None, {}),
        (
            "openai/qwen3",
            "none",
            {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"},
        ),
        (
            "openai/qwen3",
            500,
            {"chat_template_kwargs": {"enable_thinking": True}, "thinking_budget_tokens": 500},
        ),
    ],
)
async def test_how_much_to_think_is_sent_in_the_servers_own_fields(
    model: str, reasoning: Any, expected: dict[str, Any]
) -> None:
    _, body = await sent(model, reasoning=reasoning)
    names = (
        *("chat_template_kwargs", "reasoning_effort", "reasoning"),
        *("thinking_token_budget", "thinking_budget_tokens"),
    )
    assert {name: body[name] for name in names if name in body} == expected


async def test_parameters_of_the_template_that_are_given_take_precedence() -> None:
    given = {"enable_thinking": True, "custom": 1}
    _, body = await sent(VLLM, reasoning="none", chat_template_kwargs=given)
    assert body["chat_template_kwargs"] == given


@pytest.mark.parametrize("model", ["openai/o3", "openai/gpt-5", "openai/gpt-5.1"])
async def test_models_of_openai_that_think_get_what_they_take(model: str) -> None:
    path, body = await sent(model)
    assert path == "/chat/completions"
    assert body.keys() == {"model", "messages", "max_completion_tokens"}


async def test_vllm_samples_thoughts_by_the_models_own_settings_and_a_seed() -> None:
    _, body = await sent(VLLM)
    assert body.keys() == {"model", "messages", "seed"}
    _, body = await sent(VLLM, reasoning="none")
    assert (body["temperature"], body["max_tokens"], body["top_p"]) == (0.0, 512, 1.0)


@needs_litellm
async def test_a_model_of_the_responses_api_is_asked_there() -> None:
    path, body = await sent("openai/o3-pro", reasoning="low")
    assert path == "/responses"
    assert body["reasoning"]["effort"] == "low"
    assert body["max_output_tokens"] == 8192
    assert "temperature" not in body


# --- through litellm


@needs_litellm
@pytest.mark.parametrize(
    ("model", "reasoning", "thinking"),
    [
        (CLAUDE, None, None),
        (CLAUDE, "none", None),
        (CLAUDE, "low", {"type": "enabled", "budget_tokens": 1024}),
        (CLAUDE, 2000, {"type": "enabled", "budget_tokens": 2000}),
        ("anthropic/claude-opus-5", "none", {"type": "disabled"}),
    ],
)
async def test_claude_thinks_as_much_as_asked(model: str, reasoning: Any, thinking: Any) -> None:
    _, body = await sent(model, reasoning=reasoning)
    assert body.get("thinking") == thinking
    if thinking and thinking["type"] == "enabled":
        assert "temperature" not in body
        assert body["max_tokens"] > thinking["budget_tokens"]


@needs_litellm
@pytest.mark.parametrize(
    ("model", "reasoning", "budget"),
    [
        ("gemini/gemini-2.5-pro", None, None),
        ("gemini/gemini-2.5-pro", 2000, 2000),
        ("gemini/gemini-2.5-flash", "none", 0),
    ],
)
async def test_gemini_thinks_as_much_as_asked(model: str, reasoning: Any, budget: Any) -> None:
    _, body = await sent(model, reasoning=reasoning)
    settings = body["generationConfig"]
    assert settings.get("thinkingConfig", {}).get("thinkingBudget") == budget
    assert ("temperature" in settings) == (reasoning == "none")


@needs_litellm
@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [("low", {"effort": "low"}), ("none", {"enabled": False}), (2000, {"max_tokens": 2000})],
)
async def test_openrouter_gets_its_own_field(reasoning: Any, expected: dict[str, Any]) -> None:
    _, body = await sent("openrouter/qwen/qwen3-8b", reasoning=reasoning)
    assert body["reasoning"] == expected


@needs_litellm
async def test_azure_gets_the_limit_that_its_thinking_models_take() -> None:
    _, body = await sent("azure/gpt-5", api_version="2025-01-01-preview")
    assert body.keys() == {"model", "messages", "max_completion_tokens"}


# --- the provider's prompt cache


def marked(body: Any) -> list[tuple[int, Any]]:
    return [
        (number, part)
        for number, turn in enumerate(body["messages"])
        for part in turn["content"]
        if "cache_control" in part or "cachePoint" in part
    ]


@needs_litellm
async def test_the_end_of_the_shared_turns_is_marked_for_anthropic() -> None:
    _, body = await sent(CLAUDE, Prefix(MESSAGES[:3]))
    assert marked(body) == [(1, {"type": "text", "text": "4", **MARK})]
    _, body = await sent(CLAUDE, Prefix(MESSAGES[:1]))
    assert body["system"] == [{"type": "text", "text": "be brief", **MARK}]
    assert marked(body) == []


@needs_litellm
async def test_the_end_of_the_shared_turns_is_marked_for_bedrock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, body = await sent(BEDROCK, Prefix(MESSAGES[:3]))
    assert marked(body) == [(1, {"cachePoint": {"type": "default"}})]


@needs_litellm
@pytest.mark.parametrize(
    ("model", "prefix", "settings"),
    [
        (CLAUDE, None, {}),
        (CLAUDE, Prefix(MESSAGES[:3]), {"takes": {"prefix_marks": False}}),
        ("mistral/mistral-large-latest", Prefix(MESSAGES[:3]), {}),
    ],
)
async def test_other_turns_are_not_marked(model: str, prefix: Any, settings: Any) -> None:
    _, body = await sent(model, prefix, **settings)
    assert "cache" not in str(body)


def test_marks_are_not_in_the_key() -> None:
    lm = LM("openai/m")
    asked = Request(lm.with_takes({"prefix_marks": True}), MESSAGES, prefix=Prefix(MESSAGES[:3]))
    assert asked.key() == Request(lm, MESSAGES).key()
