"""What tokens cost: prices that the user gives, or that the installed litellm lists.

litellm's table is read as a file: litellm itself, which takes seconds to import, is not imported,
and nobody is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from lmpipe.errors import ConfigError

if TYPE_CHECKING:
    from lmpipe.lm.lm import LM
    from lmpipe.lm.request import Usage

# What runs inside this process is paid for by nobody.
_EMBEDDED = ("local", "scripted")

_TABLE = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens.

    Args:
        prompt: for prompt tokens.
        completion: for completion tokens.
        cached: for prompt tokens that the server had in its prefix cache; as for others by
            default.

    Raises:
        ConfigError: if one of them is no number of 0 or more.
    """

    prompt: float
    completion: float
    cached: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.prompt, self.completion, 0 if self.cached is None else self.cached)
        for number in numbers:
            if not isinstance(number, int | float) or not 0 <= number < math.inf:
                raise ConfigError(
                    f"{self}: prices are dollars per million tokens, numbers of 0 or more"
                )

    @staticmethod
    def of(value: Price | Sequence[float]) -> Price:
        """A price from (prompt, completion) or (prompt, completion, cached prompt).

        Raises:
            ConfigError: if it is anything else.
        """
        if isinstance(value, Price):
            return value
        if isinstance(value, str) or len(value) not in (2, 3):
            raise ConfigError(
                f"price={value!r}: expected dollars per million tokens as (prompt, completion) or "
                "(prompt, completion, cached prompt)"
            )
        return Price(*value)

    @property
    def dearest(self) -> float:
        """The most that a token of any kind costs, per million."""
        return max(self.prompt, self.completion, self.cached or 0.0)

    def cost(self, usage: Usage) -> float:
        """US dollars for so many tokens."""
        if self.cached is None or not usage.cached_prompt_tokens:
            return self.full_cost(usage)
        cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
        prompt = (usage.prompt_tokens - cached) * self.prompt + cached * self.cached
        return (prompt + usage.completion_tokens * self.completion) / 1e6

    def full_cost(self, usage: Usage) -> float:
        """US dollars if the server had had none of the prompt in its prefix cache."""
        tokens = usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion
        return tokens / 1e6

    def to_json(self) -> list[float]:
        given = (self.prompt, self.completion, self.cached)
        return [number for number in given if number is not None]


_FREE = Price(0.0, 0.0)


def price_of(lm: LM) -> Price | None:
    """The price of an LM: the one it was given, or the one that litellm lists.

    The embedded LM and scripted ones cost nothing. Listed prices are base rates, without what
    some providers add for very long prompts.

    Returns:
        The price, or None where it is unknown: for a server of one's own that was given none, and
        where litellm does not list the model or is not installed.
    """
    return lm.price or _known(lm.model, lm.base_url)


@lru_cache(maxsize=1024)
def _known(model: str, base_url: str | None) -> Price | None:
    provider, _, name = model.partition("/")
    if provider in _EMBEDDED:
        return _FREE
    if provider == "vllm" or (provider == "openai" and base_url and not _is_openai(base_url)):
        return None  # whatever it is called, it is a server of the user's
    table = _table()
    if found := table.get(model):
        return found[1]
    # Entries without a provider in their name belong to one all the same.
    owner, price = table.get(name, ("", None))
    return price if owner.startswith(provider) else None


def _is_openai(base_url: str) -> bool:
    from urllib.parse import urlsplit

    return urlsplit(base_url).hostname == "api.openai.com"


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[str, Price]]:
    """Provider and price by the name of the model; empty without litellm."""
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
    except (ImportError, ValueError):  # something that stands in its place has no spec
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
    # 1.5e-07 dollars times a million are 0.15 and not 0.15000000000000002.
    return round(float(per_token) * 1e6, 9)
