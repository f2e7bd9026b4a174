"""How much a model is asked to think, in the fields of each kind of server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lmpipe.lm.lm import LM
from lmpipe.lm.model_table import facts_of

# Fields that hold others.
_JOINED = ("chat_template_kwargs", "extra_body")
# Providers of litellm for which it knows no budgets.
_LEVELS_ALONE = ("ollama", "ollama_chat")
# The level that comes nearest to a budget of tokens, for models that know levels alone.
_LEVELS = ((2048, "low"), (8192, "medium"))


def reasoning_fields(lm: LM) -> dict[str, Any]:
    """Return the fields for a server with OpenAI's API; empty if it is left to the model.

    OpenAI's own models know levels; a budget becomes the nearest one. Servers of open weights get
    what vLLM, SGLang, llama.cpp and Ollama read: each ignores the fields of the others.
    """
    reasoning = lm.reasoning
    if reasoning is None:
        return {}
    if facts_of(lm.model, lm.base_url).openai:
        return _taken(lm, {"reasoning_effort": level_of(reasoning)})
    if at_openrouter(lm):
        return _taken(lm, _openrouter(reasoning))
    thinks = reasoning != "none"
    fields: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": thinks}}
    if isinstance(reasoning, int):
        budget = "thinking_token_budget" if lm.provider == "vllm" else "thinking_budget_tokens"
        fields[budget] = reasoning
    elif thinks or lm.provider == "openai":  # vLLM has no level for no thoughts
        fields["reasoning_effort"] = reasoning
    return _taken(lm, fields)


def litellm_reasoning(lm: LM) -> dict[str, Any]:
    """Return litellm's arguments, which it translates for each provider."""
    reasoning = lm.reasoning
    facts = facts_of(lm.model, lm.base_url)
    if reasoning is None or (reasoning == "none" and facts.thinks == "never"):
        return {}
    if lm.provider == "openrouter":
        return _taken(lm, {"extra_body": _openrouter(reasoning)})
    if isinstance(reasoning, str) or facts.openai or lm.provider in _LEVELS_ALONE:
        return _taken(lm, {"reasoning_effort": level_of(reasoning)})
    return _taken(lm, {"thinking": {"type": "enabled", "budget_tokens": reasoning}})


def at_openrouter(lm: LM) -> bool:
    """Whether OpenRouter answers."""
    if lm.provider == "openrouter":
        return True
    return (urlsplit(lm.base_url or "").hostname or "").endswith("openrouter.ai")


def _openrouter(reasoning: str | int) -> dict[str, Any]:
    """The field of OpenRouter, which translates it for each of its providers."""
    if isinstance(reasoning, int):
        return {"reasoning": {"max_tokens": reasoning}}
    return {"reasoning": {"enabled": False} if reasoning == "none" else {"effort": reasoning}}


def _taken(lm: LM, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if lm.accepts(name) is not False}


def level_of(reasoning: str | int) -> str:
    """Return a level, which may be given as a budget of tokens."""
    if isinstance(reasoning, str):
        return reasoning
    return next((level for most, level in _LEVELS if reasoning <= most), "high")


def with_reasoning(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Join fields and the parameters that a user gave, which take precedence."""
    both = {**fields, **given}
    for name in _JOINED:
        if isinstance(fields.get(name), Mapping) and isinstance(given.get(name), Mapping):
            both[name] = {**fields[name], **given[name]}
    return both
