"""Providers: the last step of the road, one file for each way to reach an LM."""

from __future__ import annotations

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import Provider
from lmpipe.lm.scripted import ScriptedLM

__all__ = ["Provider", "open_provider", "weights_of"]


def open_provider(lm: LM, address: str | None = None) -> Provider:
    """Make the provider that reaches an LM; what it needs is imported here and not before.

    Args:
        lm: the LM.
        address: the one of its replicas to reach; its `base_url` by default.

    Raises:
        ConfigError: if the name says no provider, or its package is not installed.
    """
    if isinstance(lm, ScriptedLM):
        return lm
    if lm.provider == "local":
        from lmpipe.lm.embedded.provider import LocalProvider

        return LocalProvider()
    if lm.provider == "vllm" or (lm.provider == "openai" and lm.base_url):
        from lmpipe.lm.providers.openai_compatible import OpenAICompatibleProvider

        return OpenAICompatibleProvider(lm, address)
    if not lm.name:
        raise ConfigError(
            f'LM({lm.model!r}) names no provider: write "<provider>/<model>", such as '
            '"openai/gpt-4o-mini" or "vllm/Qwen/Qwen2.5-7B-Instruct", or "local"'
        )
    from lmpipe.lm.providers.litellm_provider import LiteLLMProvider

    return LiteLLMProvider()


def weights_of(lm: LM) -> str:
    """What stands for an LM's weights in cache keys: a file's hash, or nothing for servers."""
    if lm.provider != "local":
        return ""
    from lmpipe.lm.embedded.provider import weights_id

    return weights_id(lm)
