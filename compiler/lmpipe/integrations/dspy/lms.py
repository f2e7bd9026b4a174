"""LMs of DSPy as LMs of lmpipe, and what LMs are asked for as DSPy asks them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import dspy
import orjson
import pydantic

from lmpipe.data.example import jsonable
from lmpipe.errors import ArtifactError, ConfigError, LMRequestError
from lmpipe.foundation.redaction import without_secrets
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM
from lmpipe.lm.parameters import VLLM_DEFAULTS
from lmpipe.lm.providers.openai_turns import openai_turns
from lmpipe.lm.python_lm import PythonLM
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage

# How DSPy names what lmpipe names otherwise.
_ADDRESS = ("api_base", "base_url")
_OWN_SETTINGS = ("api_key", "headers", "extra_headers", "timeout", *_ADDRESS)
# What DSPy keeps to itself: numbers of samples, salts of its cache, retries.
NOT_SENT = frozenset({"rollout_id", "n", "num_generations", "cache", "num_retries", "prompt_cache"})
# DSPy's name for vLLM servers, and ours.
_VLLM, _OUR_VLLM = "hosted_vllm", "vllm"
# Providers that DSPy does not have, so that it knows nothing about their LMs.
_OURS_ALONE = frozenset({"local", "scripted", "dspy"})

_KNOWN: weakref.WeakKeyDictionary[Any, LM] = weakref.WeakKeyDictionary()


def lm_from_dspy(lm: dspy.BaseLM) -> LM:
    """Return an LM that sends what DSPy's LM sends, through lmpipe's cache, limits and accounts.

    An LM with an engine of its own, or of another class than `dspy.LM`, is itself called, behind
    the cache; its replies must not depend on the order of calls.

    Raises:
        ConfigError: if it is not an LM of DSPy, or lmpipe does not know a model of that name.
    """
    if not isinstance(lm, dspy.BaseLM):
        raise ConfigError(f"lm_from_dspy({lm!r:.100}): give an LM of DSPy, such as dspy.LM(…)")
    known = _KNOWN.get(lm)
    if known is None:
        known = _KNOWN[lm] = _converted(lm)
    return known


def dspy_model(name: str) -> str:
    """Return the name that DSPy has for a model of lmpipe.

    Raises:
        ArtifactError: if only lmpipe has the model.
    """
    provider, slash, rest = name.partition("/")
    if provider in _OURS_ALONE:
        raise ArtifactError(f"DSPy does not have the LM {name!r}: compile with another one")
    return f"{_VLLM}/{rest}" if slash and provider == _OUR_VLLM else name


def _converted(lm: Any) -> LM:
    plain = type(lm) is dspy.LM and isinstance(lm.engine, str) and lm.model_type == "chat"
    if not plain:
        return CalledLM(lm)
    given = {name: value for name, value in lm.kwargs.items() if value is not None}
    provider, slash, rest = lm.model.partition("/")
    model = f"{_OUR_VLLM}/{rest}" if slash and provider == _VLLM else lm.model
    params = {k: v for k, v in given.items() if k not in (*_OWN_SETTINGS, *NOT_SENT)}
    found = LM(
        model,
        base_url=given.get("api_base") or given.get("base_url"),
        api_key=given.get("api_key"),
        headers={**given.get("headers", {}), **given.get("extra_headers", {})} or None,
        temperature=params.pop("temperature", None),
        max_tokens=None,
    )
    if "timeout" in given:
        found = found.with_limits(timeout=float(given["timeout"]))
    return as_asked(found, params)


def as_asked(lm: LM, settings: Mapping[str, Any]) -> LM:
    """Return an LM with settings as DSPy gives them, which sends no more than DSPy sends.

    lmpipe would add a seed to requests that sample, and a vLLM server's defaults.
    """
    changes: dict[str, Any] = {name: _plain(name, value) for name, value in settings.items()}
    if "max_tokens" in changes and lm.provider == "openai":
        changes["max_completion_tokens"] = changes.pop("max_tokens")
    quiet: dict[str, Any] = {"seed": None}
    if lm.provider == _OUR_VLLM:
        quiet |= dict.fromkeys(VLLM_DEFAULTS)
    changes |= {k: v for k, v in quiet.items() if k not in lm.params and k not in changes}
    return lm.with_settings(**changes) if changes else lm


def _plain(name: str, value: Any) -> Any:
    """Write the setting of a request as JSON."""
    if name != "response_format" or not isinstance(value, type):
        return value
    assert issubclass(value, pydantic.BaseModel)
    from dspy.clients.legacy_requests import _strict_json_schema

    schema = _strict_json_schema(value.model_json_schema())
    described = {"name": value.__name__, "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": described}


class AskedLMs:
    """LMs with the settings of single calls, each made once."""

    _MOST = 512

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], tuple[LM, LM]] = {}

    def of(self, lm: LM, settings: Mapping[str, Any]) -> LM:
        """Return an LM with some settings of DSPy."""
        key = id(lm), _settings_key(settings) if settings else b""
        known = self._known.get(key)
        if known is None or known[0] is not lm:
            if len(self._known) >= self._MOST:
                self._known.clear()
            known = self._known[key] = lm, as_asked(lm, settings)
        return known[1]


def _settings_key(settings: Mapping[str, Any]) -> bytes:
    plain = {name: _plain(name, value) for name, value in settings.items()}
    try:
        return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise ConfigError(
            f"an LM is asked with {', '.join(settings)}, of which one is not JSON: {error}"
        ) from None


class CalledLM(PythonLM):
    """An LM of DSPy that answers by code of its own, such as an engine or a subclass of `BaseLM`.

    Attributes:
        asked: the LM.
    """

    def __init__(self, lm: dspy.BaseLM) -> None:
        super().__init__(f"dspy/{lm.model}", temperature=None, max_tokens=None)
        object.__setattr__(self, "asked", lm)

    asked: Any

    def identity(self) -> dict[str, Any]:
        kind = type(self.asked)
        settings = without_secrets(jsonable(without_secrets(self.asked.kwargs)))
        called = {"class": f"{kind.__module__}.{kind.__qualname__}", "settings": settings}
        return {**super().identity(), "dspy": called}

    @property
    def replier(self) -> object:
        return self.asked

    async def complete(self, request: Request) -> Reply:
        """Let DSPy's LM reply."""
        settings = {k: v for k, v in request.lm.sent_params.items() if k not in NOT_SENT}
        if request.lm.temperature is not None:
            settings["temperature"] = request.lm.temperature
        messages = openai_turns(request)
        outputs = await loop.in_thread(self._ask, messages, settings)
        output = outputs[0]
        text = output.get("text") if isinstance(output, dict) else output
        thoughts = output.get("reasoning_content") if isinstance(output, dict) else ""
        words = sum(len(str(turn["content"]).split()) for turn in messages)
        said = text or ""
        return Reply(said, usage=Usage(words, len(said.split())), reasoning=thoughts or "")

    def _ask(self, messages: list[dict[str, Any]], settings: dict[str, Any]) -> list[Any]:
        from dspy.clients._deprecation import adapter_message_call

        try:
            with adapter_message_call(self.asked, messages):  # as DSPy's adapters ask it
                outputs: list[Any] = self.asked(messages=messages, **settings)
        except dspy.DSPyError as error:
            raise LMRequestError(f"{self.model}: {error}", status=error.status) from error
        return outputs


class Capabilities(NamedTuple):
    """What DSPy knows of a model, which decides how it asks for structured outputs and tools."""

    function_calling: bool = False
    reasoning: bool = False
    response_schema: bool = False
    params: frozenset[str] = frozenset()


def capabilities_of(lm: LM) -> Capabilities:
    """Look up what DSPy knows of an LM of lmpipe."""
    if isinstance(lm, CalledLM):
        return _read(lm.asked)
    if isinstance(lm, PythonLM) or lm.provider in _OURS_ALONE:
        return Capabilities()
    provider = _VLLM if lm.provider == _OUR_VLLM else lm.provider
    return _looked_up(f"{provider}/{lm.name}", lm.base_url)


@lru_cache(maxsize=256)
def _looked_up(model: str, base_url: str | None) -> Capabilities:
    return _read(dspy.LM(model, **({"api_base": base_url} if base_url else {})))


def _read(lm: Any) -> Capabilities:
    return Capabilities(
        bool(lm.supports_function_calling),
        bool(lm.supports_reasoning),
        bool(lm.supports_response_schema),
        frozenset(lm.supported_params),
    )
