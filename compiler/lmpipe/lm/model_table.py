"""What is known of a model before it is asked: its price, context, and what requests it takes.

litellm's table of models is read from the installed package's file: importing litellm takes
seconds. Without litellm, and for models that it does not list, names tell of some families.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import orjson

from lmpipe.errors import ConfigError
from lmpipe.foundation.redaction import is_key, looks_like_key
from lmpipe.lm.prices import Price

if TYPE_CHECKING:
    from lmpipe.lm.lm import LM

# LMs that run inside this process cost nothing.
EMBEDDED = ("local", "scripted", "evaluator")
# Providers of models on servers of the user, whose contexts may be small.
SELF_HOSTED = ("vllm", "hosted_vllm", "ollama", "ollama_chat", "lm_studio", "llamafile", "lemonade")

_TABLE = "model_prices_and_context_window_backup.json"
_OPENAI = "api.openai.com"
_FREE = Price(0.0, 0.0)
_NO_FACTS: Mapping[str, Any] = MappingProxyType({})

Thinking = Literal["never", "if_asked", "by_default", "always"]

# Models of OpenAI that think, also on Azure and behind proxies.
_OPENAI_THINKS = re.compile(r"(?:ft:)?(?:o[1-9]\b|gpt-(?:[5-9]|1\d)(?!\d)|codex-mini)")
_OPENAI_CHAT = re.compile(r"gpt-5(?:\.\d+)?-(?:chat|search)")
# Those of them that think only if they are asked to.
_OPENAI_ANSWERS = re.compile(r"gpt-5\.[124](?:-mini|-nano)?(?:-\d{4}-\d\d-\d\d)?")
# Models of OpenAI that do not think. They are asked without litellm, so what is sent to them, and
# their cache keys, must be the same without its table.
_OPENAI_HOSTS = re.compile(r"(?:ft:)?(?:gpt-(?:3\.5|4o|4\.|4-|4$|audio)|chatgpt-)")
# Open weights that think unless they are told not to.
_OPEN_THINKS = re.compile(
    r"qwen-?3|qwq|deepseek-(?:r1|reasoner)|gpt-oss|magistral|glm-(?:4\.[5-9]|[5-9]|z1)"
    r"|minimax-m\d|smollm3|seed-oss|reasoning|reasoner|thinking|think\b|exaone-deep"
)
_OPEN_ANSWERS = re.compile(r"instruct|coder|embed|rerank|asr|tts|non-?reasoning|non-?thinking")

# Hosted models that think, by the names of those that are newer than the table.
_HOSTED_THINKS = re.compile(r"gemini-(?:2\.5|[3-9])(?!.*(?:lite|image|tts|audio))")
# Providers with OpenAI's API itself; routers translate what a model does not take.
_OPENAI_APIS = ("openai", "azure", "azure_ai")

# Providers through which Claude cites documents: litellm hands documents on to them as they are.
_CITING = ("anthropic", "vertex_ai", "azure_ai")
# Providers that cache prompts of Claude up to a mark; others cache without one, or not at all.
_MARKING = ("anthropic", "bedrock", "vertex_ai", "azure_ai", "databricks", "openrouter")

# The flags of the table that say what a model takes, by our names.
_FLAGS = {
    "tools": "supports_function_calling",
    "tool_choice": "supports_tool_choice",
    "response_format": "supports_response_schema",
    "images": "supports_vision",
    "audio": "supports_audio_input",
    "files": "supports_pdf_input",
    "reasoning": "supports_reasoning",
}
_KEPT = frozenset(
    {
        *_FLAGS.values(),
        *("litellm_provider", "mode", "max_input_tokens", "max_output_tokens", "max_tokens"),
        *("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost"),
        *("cache_creation_input_token_cost", "supports_prompt_caching", "supports_sampling_params"),
        *("default_reasoning_effort", "supports_none_reasoning_effort", "thinking_always_on"),
        "thinking_on_by_default",
    }
)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model before it is asked.

    Args:
        listed: whether litellm's table has it.
        hosted: whether its provider hosts it, as far as that is known.
        context: the maximum tokens of its prompts; None if unknown.
        max_output: the maximum tokens of its replies; None if unknown.
        thinks: whether it thinks before it answers.
        openai: whether it has the rules of OpenAI's models that think.
        responses: whether it is asked through OpenAI's Responses API alone.
        takes: what it takes or refuses, by name; what is not in it is not known.
    """

    listed: bool = False
    hosted: bool = False
    context: int | None = None
    max_output: int | None = None
    thinks: Thinking = "never"
    openai: bool = False
    responses: bool = False
    takes: Mapping[str, bool] = field(default_factory=lambda: _NO_FACTS)


def price_of(lm: LM) -> Price | None:
    """Return the price of an LM: the one given to it, else the one that litellm lists.

    The embedded LM and scripted LMs cost nothing. Listed prices are base rates, without the
    surcharges of some providers for very long prompts. A price is unknown (None) for a self-hosted
    server without `price=`, and if litellm does not list the model or is not installed.
    """
    return lm.price or _listed_price(lm.model, lm.base_url)


_CITES: Mapping[str, bool] = MappingProxyType({"citations": True})


@lru_cache(maxsize=1024)
def facts_of(model: str, base_url: str | None = None) -> ModelFacts:
    """Return what is known of a model, at a server's URL or its provider's own."""
    provider = model.partition("/")[0]
    if provider in EMBEDDED:
        return _EMBEDDED_FACTS
    entry = None if provider == "vllm" else _entry_of(model, _is_elsewhere(provider, base_url))
    last = model.rpartition("/")[2].lower()
    if entry is None:
        return _guessed(provider, last)
    direct = provider in _OPENAI_APIS
    openai = direct and bool(entry.get("supports_reasoning")) and _is_openai(last)
    thinks = _thinking(entry, last, openai=openai)
    takes = {name: bool(entry[flag]) for name, flag in _FLAGS.items() if flag in entry}
    if entry.get("supports_sampling_params") is False:
        takes |= {"temperature": False, "top_p": False}
    if openai or (direct and _OPENAI_CHAT.match(last)):
        takes |= _openai_takes(thinks)
    if provider in _MARKING and "claude" in last and entry.get("supports_prompt_caching"):
        takes["prefix_marks"] = True
    if provider in _CITING and "claude" in last:
        takes["citations"] = True
    return ModelFacts(
        listed=True,
        hosted=True,
        context=_tokens(entry, "max_input_tokens") or _tokens(entry, "max_tokens"),
        max_output=_tokens(entry, "max_output_tokens"),
        thinks=thinks,
        openai=openai,
        responses=entry.get("mode") == "responses",
        takes=MappingProxyType(takes),
    )


def check_no_key(model: str) -> None:
    """Check that nobody gave an API key in place of a model's name.

    Raises:
        ConfigError: if a part of the name looks like one, without showing it.
    """
    if not model.startswith("local/") and any(map(is_key, model.split("/")[1:])):
        raise _is_key()


def _is_key() -> ConfigError:
    return ConfigError(
        "the name of an LM looks like an API key (it is not shown here): put the key into an "
        'environment variable and write LM("<provider>/<model>", api_key_env="VARIABLE")'
    )


def full_name(model: str) -> str:
    """Return a model's name with its provider: `gpt-5.1` becomes `openai/gpt-5.1`.

    Raises:
        ConfigError: if no model has that name; it names the nearest ones.
    """
    if provider := _provider_of(model):
        return f"{provider}/{model}"
    if looks_like_key(model):
        raise _is_key()
    import difflib

    from lmpipe.lm.project_table import names_in_table  # it imports `LM`

    known = [name for name, entry in _table().items() if "/" not in name and _answers(entry)]
    near = difflib.get_close_matches(model, known, n=3, cutoff=0.6)
    hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
    listed = "litellm lists no such model" if known else "litellm, which lists models, is missing"
    raise ConfigError(
        f"LM({model!r}) does not name a provider, and {listed}{hint or '.'} Write "
        '"<provider>/<model>", such as "openai/gpt-5.1" or "vllm/Qwen/Qwen3-8B", or "local", or a '
        f"name in the table [lms] of your project's lmpipe.toml{names_in_table()}"
    )


# Who serves the models of a bare name, the maker first.
_MAKERS = ("openai", "anthropic", "gemini", "mistral", "xai", "deepseek", "cohere")
_BY_NAME = (
    (re.compile(r"(?:ft:)?gpt-|o[1-9]\b|chatgpt-|codex-|text-embedding-"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"gemini-"), "gemini"),
)
_PROVIDERS = {"bedrock_converse": "bedrock", "text-completion-openai": "openai"}


def _provider_of(name: str) -> str:
    """The provider of a model that is named without one; empty if there is none."""
    table = _table()
    for maker in _MAKERS:
        if f"{maker}/{name}" in table:
            return maker
    if entry := table.get(name):
        owner = str(entry.get("litellm_provider", ""))
        if owner.startswith("vertex_ai"):
            return "vertex_ai"
        return _PROVIDERS.get(owner, owner)
    if table:  # a listed model has its own spelling
        return ""
    return next((provider for pattern, provider in _BY_NAME if pattern.match(name)), "")


def _answers(entry: Mapping[str, Any]) -> bool:
    return entry.get("mode") in ("chat", "responses", "completion")


_EMBEDDED_FACTS = ModelFacts()


def _is_openai(name: str) -> bool:
    return bool(_OPENAI_THINKS.match(name)) and not _OPENAI_CHAT.match(name)


def _openai_takes(thinks: Thinking) -> dict[str, bool]:
    """What OpenAI's newer models take; their own error messages say so."""
    takes = {"max_tokens": False, "max_completion_tokens": True}
    if thinks in ("by_default", "always"):
        takes |= {"temperature": False, "top_p": False}
    return takes


def _thinking(entry: Mapping[str, Any], name: str, *, openai: bool) -> Thinking:
    if not entry.get("supports_reasoning") or _OPENAI_CHAT.match(name):
        return "never"
    if entry.get("thinking_always_on"):
        return "always"
    if entry.get("default_reasoning_effort") == "none":
        return "if_asked"
    if "claude" in name:
        return "by_default" if entry.get("thinking_on_by_default") else "if_asked"
    if openai:
        return "by_default" if entry.get("supports_none_reasoning_effort") else "always"
    return "by_default"


def _guessed(provider: str, name: str) -> ModelFacts:
    """What the name alone tells of a model that is not listed."""
    if provider in _CITING and "claude" in name:
        return ModelFacts(hosted=True, takes=_CITES)
    if provider in _OPENAI_APIS and _OPENAI_CHAT.match(name):
        return ModelFacts(hosted=True, takes=MappingProxyType(_openai_takes("never")))
    if provider in _OPENAI_APIS and _is_openai(name):
        thinks: Thinking = "if_asked" if _OPENAI_ANSWERS.fullmatch(name) else "by_default"
        takes = MappingProxyType(_openai_takes(thinks))
        return ModelFacts(hosted=True, thinks=thinks, openai=True, takes=takes)
    if provider == "openai" and _OPENAI_HOSTS.match(name):
        return ModelFacts(hosted=True)
    if _HOSTED_THINKS.match(name) and provider not in SELF_HOSTED:
        return ModelFacts(thinks="by_default")
    if _OPEN_THINKS.search(name) and not _OPEN_ANSWERS.search(name):
        return ModelFacts(thinks="by_default")
    return ModelFacts()


def _is_elsewhere(provider: str, base_url: str | None) -> bool:
    """Whether a server is not OpenAI's own, but one with its API, or a proxy in front of it."""
    return provider == "openai" and base_url is not None and urlsplit(base_url).hostname != _OPENAI


def _entry_of(model: str, elsewhere: bool) -> Mapping[str, Any] | None:
    """The entry of a model, also of one that is reached through a router, such as OpenRouter."""
    table = _table()
    provider, _, name = model.partition("/")
    if found := table.get(model):
        return found
    found = table.get(name)
    if found and str(found.get("litellm_provider", "")).startswith(provider):
        return found
    if elsewhere:
        return None
    if name.startswith("ft:"):  # ft:<model>:<organisation>:<suffix>:<id>
        base = name.split(":")[1]
        return table.get(f"ft:{base}") or table.get(base)
    if provider in ("openrouter", "litellm_proxy", "azure", "azure_ai", "bedrock"):
        parts = name.split("/")
        names = ["/".join(parts[start:]) for start in range(len(parts))]
        return next((table[item] for item in names if item in table), None)
    return None


@lru_cache(maxsize=1024)
def _listed_price(model: str, base_url: str | None) -> Price | None:
    provider, _, name = model.partition("/")
    if provider in EMBEDDED:
        return _FREE
    if provider == "vllm" or _is_elsewhere(provider, base_url):
        return None  # a self-hosted server, whatever the model's name
    table = _table()
    if model in table:
        return _price(table[model])
    # Entries without a provider in their name still belong to one.
    entry = table.get(name, _NO_FACTS)
    owned = str(entry.get("litellm_provider", "")).startswith(provider)
    return _price(entry) if owned else None


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, Any]]:
    """Return what is used of each entry, by model name; empty if litellm is not installed."""
    file = _table_file()
    if file is None:
        return {}
    try:
        entries: dict[str, Any] = orjson.loads(file.read_bytes())
        return {name: _used(entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _table_file() -> Path | None:
    from importlib.util import find_spec

    try:
        spec = find_spec("litellm")
    except (ImportError, ValueError):  # a module that replaces it has no spec
        return None
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((file for folder in folders if (file := Path(folder) / _TABLE).is_file()), None)


def _used(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name in _KEPT}


def _tokens(entry: Mapping[str, Any], name: str) -> int | None:
    value = entry.get(name)
    return value if isinstance(value, int) and value > 0 else None


def _price(entry: Mapping[str, Any]) -> Price | None:
    names = (
        *("input_cost_per_token", "output_cost_per_token"),
        *("cache_read_input_token_cost", "cache_creation_input_token_cost"),
    )
    prompt, completion, cached, written = (entry.get(name) for name in names)
    if prompt is None or completion is None:
        return None
    try:
        return Price(
            _per_million(prompt),
            _per_million(completion),
            None if cached is None else _per_million(cached),
            None if written is None else _per_million(written),
        )
    except (TypeError, ValueError, ConfigError):  # a damaged entry
        return None


def _per_million(per_token: float) -> float:
    # 1.5e-07 dollars times a million is 0.15, not 0.15000000000000002.
    return round(float(per_token) * 1e6, 9)
