"""The identity of an LM: everything of it that can change a reply, for cache keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmpipe.foundation.redaction import public_url, without_secrets
from lmpipe.lm.parameters import VLLM_DEFAULTS

if TYPE_CHECKING:
    from lmpipe.lm.lm import LM

# Every field of an `LM` is in one of these; the cache key contains only the first.
IN_KEY = (
    *("model", "base_url", "temperature", "max_tokens", "reasoning", "structured", "params"),
    "adapter",
)
NOT_IN_KEY = (
    *("replicas", "api_key", "api_key_env", "headers", "tls", "context", "price", "timeout"),
    *("limits", "takes"),
)

# Fields about thoughts that requests get beside `params`.
_ABOUT_THOUGHTS = (
    *("reasoning_effort", "chat_template_kwargs", "extra_body"),
    *("thinking", "thinking_token_budget", "thinking_budget_tokens"),
)


def identity_of(lm: LM) -> dict[str, Any]:
    """Return everything that can change a reply, without secrets; see `LM.identity`."""
    key = (lm.api_key or "",)
    decoding = {
        "temperature": lm.temperature,
        lm.limit_name: lm.max_tokens,
        "reasoning": lm.reasoning,
    }
    return {
        "model": lm.model,
        "base_url": public_url(lm.base_url, key),
        # What is not sent is left out; so is an unset adapter, as in older cache keys.
        **{name: value for name, value in decoding.items() if value is not None},
        "structured": lm.structured,
        "params": without_secrets(lm.taken_params, key),
        **({"adapter": lm.adapter} if lm.adapter else {}),
        **(_declared(lm) if lm.takes else {}),
    }


def _declared(lm: LM) -> dict[str, Any]:
    """What `takes` changes in requests, as far as no other part of the identity shows it.

    A request without a field that it gets beside `params` is another request.
    """
    about_thoughts = _ABOUT_THOUGHTS if lm.reasoning is not None else ()
    defaults = VLLM_DEFAULTS if lm.provider == "vllm" else ()
    declared = dict[str, Any]()
    refused = [name for name in (*about_thoughts, *defaults) if lm.takes.get(name) is False]
    if refused:
        declared["refused"] = sorted(refused)
    if lm.provider == "vllm" and lm.takes.get("reasoning") and lm.temperature is None:
        declared["thinks"] = True  # then vLLM's defaults are the model's own
    return declared
