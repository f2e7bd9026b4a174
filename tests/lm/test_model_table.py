"""What is known of models: from litellm's own table, and from names without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.optional import needs_litellm_table

from lmpipe.errors import ConfigError
from lmpipe.lm import model_table
from lmpipe.lm.lm import LM
from lmpipe.lm.model_table import facts_of, full_name


def forget() -> None:
    for known in (model_table._table, model_table._listed_price, model_table.facts_of):
        known.cache_clear()


@pytest.fixture(params=["with litellm", "without"])
def table(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "with litellm":
        needs_litellm_table()
    else:
        monkeypatch.setitem(sys.modules, "litellm", None)
    forget()
    yield request.param
    forget()


@pytest.fixture
def litellm() -> None:
    needs_litellm_table()


@pytest.mark.parametrize("model", ["openai/o3", "openai/gpt-5", "azure/gpt-5-mini", "openai/gpt-9"])
def test_thinking_models_of_openai_refuse_temperature_and_max_tokens(
    table: str, model: str
) -> None:
    facts = facts_of(model)
    assert facts.openai
    assert facts.thinks != "never"
    refused = {name for name, taken in facts.takes.items() if not taken}
    assert refused >= {"temperature", "max_tokens"}
    assert facts.takes["max_completion_tokens"]


@pytest.mark.parametrize(
    "model",
    [
        *("vllm/Qwen/Qwen3-8B", "vllm/Qwen/QwQ-32B", "openai/openai/gpt-oss-20b"),
        *("vllm/deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "ollama_chat/qwen3:8b"),
        *("vllm/Qwen/Qwen3-30B-A3B-Thinking-2507", "vllm/zai-org/GLM-4.6"),
    ],
)
def test_open_weights_that_think_are_known_by_name(table: str, model: str) -> None:
    assert facts_of(model, "http://127.0.0.1:1/v1").thinks == "by_default"


@pytest.mark.parametrize(
    "model",
    [
        *("local", "local/qwen3.gguf", "scripted/a", "vllm/Qwen/Qwen2.5-7B-Instruct"),
        *("vllm/Qwen/Qwen3-4B-Instruct-2507", "vllm/Qwen/Qwen3-Coder-30B-A3B-Instruct"),
        *(
            "vllm/Qwen/Qwen3-Embedding-0.6B",
            "openai/m",
            "openai/gpt-4o",
            "openai/gpt-5-chat-latest",
        ),
    ],
)
def test_other_models_answer_at_once(table: str, model: str) -> None:
    facts = facts_of(model)
    assert facts.thinks == "never"
    assert facts.takes.get("temperature") is not False


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("openai/gpt-5.1", "if_asked"),
        ("openai/o3", "always"),
        ("anthropic/claude-opus-4-5", "if_asked"),
        ("anthropic/claude-opus-5", "by_default"),
        ("gemini/gemini-2.5-pro", "by_default"),
        ("bedrock/us.anthropic.claude-opus-4-5-20251101-v1:0", "if_asked"),
        ("openrouter/openai/gpt-5", "by_default"),
        ("openai/gpt-4o-mini", "never"),
    ],
)
def test_the_table_says_when_a_model_thinks(litellm: None, model: str, thinks: str) -> None:
    facts = facts_of(model)
    assert facts.listed
    assert facts.thinks == thinks
    assert facts.context is not None
    assert facts.max_output is not None


def test_the_table_says_what_else_a_model_takes(litellm: None) -> None:
    takes = facts_of("anthropic/claude-opus-4-5").takes
    assert takes["tools"]
    assert takes["images"]
    assert facts_of("anthropic/claude-opus-5").takes["temperature"] is False
    assert facts_of("openai/o3-pro").responses
    assert not facts_of("openai/o3").responses


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("gpt-5.1", "openai/gpt-5.1"),
        ("o3", "openai/o3"),
        ("claude-opus-4-5", "anthropic/claude-opus-4-5"),
        ("gemini-2.5-pro", "gemini/gemini-2.5-pro"),
    ],
)
def test_a_bare_name_is_found(table: str, name: str, full: str) -> None:
    assert full_name(name) == full


def test_an_unknown_bare_name_is_an_error_with_the_nearest_names(litellm: None) -> None:
    with pytest.raises(ConfigError, match=r"lists no such model; did you mean .*'gpt-5.1'"):
        full_name("gtp-5.1")


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-Zu7Qk2",
        "sk-ant-api03-Zu7Qk2",
        "gsk_Zu7Qk2Zu7Qk2",
        "AIzaSyZu7Qk2",
        "0123456789abcdef0123456789abcdef",
        " sk-proj-Zu7Qk2",
    ],
)
def test_an_api_key_in_place_of_a_name_is_not_shown(litellm: None, key: str) -> None:
    with pytest.raises(ConfigError, match="looks like an API key") as caught:
        LM(key)
    assert key.strip()[:12] not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["openai/{}", "openrouter/acme/{}", "vllm/{}@http://127.0.0.1:8000/v1"]
)
@pytest.mark.parametrize("key", ["sk-proj-Zu7Qk2", "gsk_Zu7Qk2Zu7Qk2", "AIzaSyZu7Qk2Zu7Qk2"])
def test_an_api_key_after_the_provider_is_not_shown(name: str, key: str) -> None:
    with pytest.raises(ConfigError, match="looks like an API key") as caught:
        LM(name.format(key))
    assert key not in str(caught.value)


@pytest.mark.parametrize("name", ["vllm/hf_mirror-7b", "openai/sk-1", "local/sk-proj-Zu7Qk2.gguf"])
def test_a_name_that_begins_like_a_key_is_allowed(name: str) -> None:
    assert LM(name).model == name


def test_without_litellm_an_unknown_bare_name_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    forget()
    with pytest.raises(ConfigError, match="litellm, which lists models, is missing"):
        full_name("no-such-model")
    forget()


@pytest.mark.parametrize(
    ("model", "room"),
    [
        ("openai/gpt-4o-mini", {"temperature": 0.0, "max_tokens": 4096}),
        ("openai/gpt-4", {"temperature": 0.0, "max_tokens": 4096}),
        ("openai/ft:gpt-4o-mini-2024-07-18:org::id", {"temperature": 0.0, "max_tokens": 4096}),
        ("openai/gpt-5-chat-latest", {"temperature": 0.0, "max_completion_tokens": 4096}),
        ("openai/gpt-5.1", {"max_completion_tokens": 4096}),
        ("openai/gpt-5-mini", {"max_completion_tokens": 16384}),
        ("openai/gpt-oss-20b", {}),
        ("openai/gpt-j-6b", {"temperature": 0.0, "max_tokens": 512}),
    ],
)
@pytest.mark.usefixtures("table")
def test_models_of_openai_have_the_same_keys_without_the_table(
    model: str, room: dict[str, Any]
) -> None:
    identity = LM(model).identity()
    names = ("temperature", "max_tokens", "max_completion_tokens")
    assert {name: identity[name] for name in names if name in identity} == room
