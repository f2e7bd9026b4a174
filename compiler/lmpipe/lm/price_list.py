"""Look up the price of an LM in litellm's price list.

The list is read from the installed package's file: importing litellm takes seconds.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM
from lmpipe.lm.prices import Price

# LMs that run inside this process cost nothing.
_EMBEDDED = ("local", "scripted")
_TABLE = "model_prices_and_context_window_backup.json"
_FREE = Price(0.0, 0.0)


def price_of(lm: LM) -> Price | None:
    """Return the price of an LM: the one given to it, else the one that litellm lists.

    The embedded LM and scripted LMs cost nothing. Listed prices are base rates, without the
    surcharges of some providers for very long prompts. A price is unknown (None) for a self-hosted
    server without `price=`, and if litellm does not list the model or is not installed.
    """
    return lm.price or _known(lm.model, lm.base_url)


@lru_cache(maxsize=1024)
def _known(model: str, base_url: str | None) -> Price | None:
    provider, _, name = model.partition("/")
    if provider in _EMBEDDED:
        return _FREE
    if provider == "vllm":
        return None  # a self-hosted server, whatever the model's name
    if provider == "openai" and base_url and urlsplit(base_url).hostname != "api.openai.com":
        return None
    table = _table()
    if found := table.get(model):
        return found[1]
    # Entries without a provider in their name still belong to one.
    owner, price = table.get(name, ("", None))
    return price if owner.startswith(provider) else None


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[str, Price]]:
    """Return provider and price by model name; empty if litellm is not installed."""
    file = _table_file()
    if file is None:
        return {}
    try:
        entries: dict[str, Any] = orjson.loads(file.read_bytes())
        read = {name: _entry(entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError, ConfigError):
        return {}
    return {name: found for name, found in read.items() if found is not None}


def _table_file() -> Path | None:
    from importlib.util import find_spec

    try:
        spec = find_spec("litellm")
    except (ImportError, ValueError):  # a module that replaces it has no spec
        return None
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((file for folder in folders if (file := Path(folder) / _TABLE).is_file()), None)


def _entry(entry: dict[str, Any]) -> tuple[str, Price] | None:
    prompt, completion = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    if prompt is None or completion is None:
        return None
    cached = entry.get("cache_read_input_token_cost")
    price = Price(
        _per_million(prompt),
        _per_million(completion),
        None if cached is None else _per_million(cached),
    )
    return str(entry.get("litellm_provider", "")), price


def _per_million(per_token: float) -> float:
    # 1.5e-07 dollars times a million is 0.15, not 0.15000000000000002.
    return round(float(per_token) * 1e6, 9)
