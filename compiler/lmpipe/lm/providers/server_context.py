"""The maximum tokens of a call, as servers say it themselves.

vLLM, SGLang    `max_model_len` in the list of models
OpenRouter      `context_length`
Mistral         `max_context_length`
Groq            `context_window`
llama.cpp       `n_ctx` at `/props`, beside `/v1`: that of one of its slots
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmpipe.foundation.exact_json import load_json

# The request for what llama.cpp says about itself.
PROPS = "/props"

_NAMES = ("max_model_len", "context_length", "max_context_length", "context_window")


def context_of_model(models: Iterable[object], name: str) -> int | None:
    """Return the context of a model in a server's list, or of the model that an adapter is for."""
    listed = {str(item.get("id")): item for item in models if isinstance(item, Mapping)}
    own = listed.get(name) or (next(iter(listed.values())) if len(listed) == 1 else None)
    for entry in (own, listed.get(str(own.get("parent"))) if own else None):
        if entry is not None and (found := _first(entry, _NAMES)):
            return found
    return None


def context_of_props(body: bytes) -> int | None:
    """Return the context that llama.cpp tells at `PROPS`."""
    try:
        value: Any = load_json(body)
    except ValueError:
        return None
    settings = value.get("default_generation_settings") if isinstance(value, Mapping) else None
    return _first(settings, ("n_ctx",)) if isinstance(settings, Mapping) else None


def _first(entry: Mapping[str, Any], names: Iterable[str]) -> int | None:
    found = (entry.get(name) for name in names)
    return next((size for size in found if type(size) is int and size > 0), None)
