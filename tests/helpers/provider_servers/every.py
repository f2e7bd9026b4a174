"""Every provider that has a local server, with the names of models that people use there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest
from helpers.provider_servers.anthropic_server import AnthropicServer
from helpers.provider_servers.azure_server import AzureServer
from helpers.provider_servers.bedrock_server import BedrockServer
from helpers.provider_servers.gemini_server import GeminiServer
from helpers.provider_servers.mistral_server import MistralServer
from helpers.provider_servers.ollama_server import OllamaServer
from helpers.provider_servers.openai_server import OpenAIServer
from helpers.provider_servers.openrouter_server import OpenRouterServer
from helpers.provider_servers.server import ProviderServer
from helpers.provider_servers.vllm_server import LlamaCppServer, SGLangServer, VLLMServer

import lmpipe

Test = TypeVar("Test", bound=Callable[..., object])

QWEN3 = "Qwen/Qwen3-8B"
CODER = "Qwen/Qwen2.5-Coder-1.5B-Instruct"


@dataclass(frozen=True)
class Provider:
    """A model of a provider.

    Args:
        title: the provider's name for people.
        model: the LM's name.
        server: starts its server.
        learns: whether what it takes is learned from its refusals.
    """

    title: str
    model: str
    server: Callable[[], ProviderServer]
    learns: bool = False

    def lm(self, server: ProviderServer, **settings: object) -> lmpipe.LM:
        """The LM, with nothing set but where it is and the key."""
        given: dict[str, object] = {"base_url": server.url, "api_key": server.key, **settings}
        return lmpipe.LM(self.model, **given)  # type: ignore[arg-type]


EVERY = (
    Provider("OpenAI", "openai/gpt-4o-mini", OpenAIServer),
    Provider("OpenAI", "openai/gpt-5.1", OpenAIServer),
    Provider("OpenAI", "openai/o3", OpenAIServer),
    Provider("OpenAI, Responses API", "openai/o3-pro", OpenAIServer),
    Provider("Azure", "azure/gpt-5.1", AzureServer),
    Provider("Anthropic", "anthropic/claude-opus-4-5", AnthropicServer),
    Provider("Anthropic", "anthropic/claude-opus-4-7", AnthropicServer),
    Provider("Gemini", "gemini/gemini-2.5-pro", GeminiServer),
    Provider("Bedrock", "bedrock/us.anthropic.claude-opus-4-5-20251101-v1:0", BedrockServer),
    Provider("Bedrock", "bedrock/us.amazon.nova-pro-v1:0", BedrockServer),
    Provider("Mistral", "mistral/mistral-large-latest", MistralServer),
    Provider("Mistral", "mistral/magistral-medium-latest", MistralServer),
    Provider("Mistral, without litellm", "openai/mistral-large-latest", MistralServer, learns=True),
    Provider("OpenRouter", "openrouter/openai/gpt-5.1", OpenRouterServer),
    Provider("Ollama", "ollama_chat/llama3.1", OllamaServer),
    Provider("Ollama", "ollama_chat/qwen3", OllamaServer),
    Provider("vLLM", f"vllm/{QWEN3}", lambda: VLLMServer(QWEN3)),
    Provider("SGLang", f"openai/{QWEN3}", lambda: SGLangServer(QWEN3)),
    Provider("llama.cpp", f"openai/{CODER}", lambda: LlamaCppServer(CODER)),
)
BY_MODEL = {provider.model: provider for provider in EVERY}


def covers(feature: str, *, but: tuple[str, ...] = ()) -> Callable[[Test], Test]:
    """Run a test with every provider, and say which feature it shows to work.

    Args:
        feature: the name of the feature.
        but: the models with which it is not tested.
    """
    assert set(but) <= BY_MODEL.keys()
    providers = [provider for provider in EVERY if provider.model not in but]

    def mark(test: Test) -> Test:
        test.features = (feature,)  # type: ignore[attr-defined]
        names = [provider.model for provider in providers]
        return pytest.mark.parametrize("provider", providers, ids=names)(test)

    return mark


def covers_real(row: tuple[str, str], *features: str) -> Callable[[Test], Test]:
    """Say which features a test with a real LM, which `make test-real` runs, shows to work.

    Args:
        row: the server and its model, for people.
        features: the names of the features.
    """

    def mark(test: Test) -> Test:
        test.features, test.row = features, row  # type: ignore[attr-defined]
        return test

    return mark
