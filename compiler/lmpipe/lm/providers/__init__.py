"""Providers: one file for each way to reach an LM."""

from __future__ import annotations

import asyncio
import os

from lmpipe.errors import ConfigError
from lmpipe.foundation.redaction import public_url
from lmpipe.lm.lm import LM
from lmpipe.lm.model_table import facts_of
from lmpipe.lm.providers.base import Provider
from lmpipe.lm.python_lm import PythonLM, PythonProvider
from lmpipe.lm.scripted import ScriptedLM

__all__ = [
    "Provider",
    "fetch_weights",
    "needs_responses",
    "open_provider",
    "source_of",
    "weights_of",
]


def open_provider(lm: LM, address: str | None = None) -> Provider:
    """Make the provider for an LM, importing only what it needs.

    `address` is that of the replica to reach; the LM's `base_url` by default. Raises a
    ConfigError if the LM's name has no provider, its key is missing, or its settings cannot be
    used.
    """
    if lm.api_key_env is not None and not lm.api_key:
        raise ConfigError(
            f"{lm}: the environment variable {lm.api_key_env}, which has its key, is not set or "
            f"empty: run `export {lm.api_key_env}=…` first"
        )
    if isinstance(lm, PythonLM):
        return PythonProvider(lm)
    if lm.provider == "local":
        from lmpipe.lm.embedded.provider import LocalProvider

        return LocalProvider()
    named = lm.name or lm.base_url
    if lm.provider == "vllm" or (lm.provider == "openai" and named and not needs_responses(lm)):
        from lmpipe.lm.providers.openai_compatible import OpenAICompatibleProvider

        return OpenAICompatibleProvider(lm, address)
    if not lm.name:
        raise ConfigError(
            f'LM({lm.model!r}) does not name a provider: write "<provider>/<model>", such as '
            '"openai/gpt-4o-mini" or "vllm/Qwen/Qwen2.5-7B-Instruct", or "local"'
        )
    from lmpipe.lm.providers.litellm_provider import LiteLLMProvider

    return LiteLLMProvider()


def needs_responses(lm: LM) -> bool:
    """Whether an LM answers through OpenAI's Responses API alone, to which litellm translates."""
    return lm.provider == "openai" and facts_of(lm.model, lm.base_url).responses


def weights_of(lm: LM) -> str:
    """The identity of an LM's weights in cache keys: a file's hash, or empty for servers."""
    if lm.provider != "local":
        return ""
    from lmpipe.lm.embedded.provider import weights_id

    return weights_id(lm)


async def fetch_weights(lm: LM) -> None:
    """Download the weights of an embedded LM that its name finds on the hub, if not done yet.

    `weights_of` would do so too, but keep the event loop from all other work.
    """
    if lm.provider != "local" or not lm.name:
        return
    from lmpipe.lm.embedded.provider import has_weights, weights_id

    if not has_weights(lm):
        await asyncio.to_thread(weights_id, lm)


def source_of(lm: LM) -> str:
    """Return what else identifies a model in cache keys: weights, a server's address, a script.

    That address is the one in `OPENAI_BASE_URL`, for an LM of OpenAI without a `base_url`.
    """
    provider = lm.provider
    if provider == "scripted":
        return lm.source if isinstance(lm, ScriptedLM) else ""
    if provider == "local":
        return weights_of(lm)
    if provider != "openai" or lm.base_url is not None:
        return ""
    url = os.environ.get("OPENAI_BASE_URL")
    return public_url(url) if url else ""
