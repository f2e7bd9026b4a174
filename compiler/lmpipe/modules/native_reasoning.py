"""Whether an LM thinks before it answers, as its settings say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.lm.lm import LM

_OFF = ("none", "off", "disabled", "", 0, False)


def thinks(lm: LM) -> bool:
    """Whether an LM thinks, so that its replies come with their reasoning."""
    if lm.thinks:
        return True
    return bool(lm.params) and any(
        _is_on(name, lm.params[name]) for name in _SETTINGS if name in lm.params
    )


# Parameters of servers that turn thinking on or off, or limit it.
_SETTINGS = (
    "reasoning",
    "reasoning_effort",
    "thinking",
    "thinking_token_budget",
    "thinking_budget_tokens",
    "chat_template_kwargs",
)


def _is_on(name: str, value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value is not None and value not in _OFF
    if name == "chat_template_kwargs":
        return value.get("enable_thinking") is True or value.get("thinking") is True
    if name == "thinking":
        return value.get("type") in ("enabled", "adaptive")
    return value.get("enabled", True) is not False and value.get("effort") != "none"
