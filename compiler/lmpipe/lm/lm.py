"""`LM`: the frozen description of a language model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args, overload

from lmpipe.errors import ConfigError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.checks import check_choice, check_number
from lmpipe.foundation.redaction import (
    public_url,
    secrets_in,
    secrets_in_url,
    without_secrets,
)
from lmpipe.lm.ask import DirectCalls
from lmpipe.lm.defaults import (
    BY_MODEL,
    DEFAULT_CONTEXT,
    DEFAULT_MAX_TOKENS,
    Asked,
    ByModel,
    ReasoningLevel,
    Settled,
    check_takes,
    settle,
    tell_left_out,
)
from lmpipe.lm.limits import Limits
from lmpipe.lm.model_table import full_name
from lmpipe.lm.parameters import meant_option
from lmpipe.lm.prices import Price
from lmpipe.lm.text_form import (
    TextForm,
    check_key_variable,
    is_named,
    parse_text_form,
    takes_text_form,
)
from lmpipe.lm.tls import TLS

__all__ = ["BY_MODEL", "DEFAULT_CONTEXT", "DEFAULT_MAX_TOKENS", "LM", "Limits", "as_lm"]

DEFAULT_TIMEOUT = 600.0

Structured = Literal["auto", "vllm", "openai", "llamacpp", "none"]

# Every field of an `LM` is in one of these; the cache key contains only the first.
IN_KEY = (
    *("model", "base_url", "temperature", "max_tokens", "reasoning", "structured", "params"),
    "adapter",
)
NOT_IN_KEY = (
    *("replicas", "api_key", "api_key_env", "headers", "tls", "context", "price", "timeout"),
    *("limits", "takes"),
)

# The fields that are read-only mappings, which cannot be pickled.
_READ_ONLY = ("headers", "params", "takes")
# What depends on the model unless it is given.
_ASKED = ("temperature", "max_tokens", "context", "reasoning")
# What `_set` and `identity_json` derive from the other fields.
_DERIVED = (*_ASKED, "_settled", "_identity_json")
# Without a provider in their name.
_WITHOUT_PROVIDER = ("local", "vllm", "openai", "scripted")

_ON_SERVERS = ("vllm", "openai", "scripted")

# Fields that requests get beside `params`: those about thoughts, and vLLM's own defaults. A request
# without one that the model refuses is another request.
_ABOUT_THOUGHTS = (
    *("reasoning_effort", "chat_template_kwargs", "extra_body"),
    *("thinking", "thinking_token_budget", "thinking_budget_tokens"),
)
_VLLM_DEFAULTS = ("top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True, init=False, eq=False)
class LM(DirectCalls):
    """A language model: where it is, and how it decodes.

    Examples:
        `LM("local")` is the embedded model, `LM("local/<file>.gguf")` another weights file,
        `LM("vllm/<model>", base_url="http://127.0.0.1:8000/v1")` a model on a vLLM server,
        `LM("openai/<model>", base_url=…)` a model on any OpenAI-compatible server,
        `LM("openai/<model>")` one of OpenAI's own (or of the server that `OPENAI_BASE_URL`
        names), and `LM("<provider>/<model>")` any model that litellm knows by that name.
        `LM("gpt-5.1")` and `LM("claude-opus-4-5")` are found in litellm's table of models.
        `LM("vllm/<model>@http://127.0.0.1:8000/v1#key=MY_KEY")` has the address, and the
        environment variable with the key, in its name; `LM("judge")` is the LM of that name in the
        table `[lms]` of `lmpipe.toml`.
        `lm("…")` asks it directly and returns a `Reply`.

    Args:
        model: `<provider>/<model>`, `local`, or the name of a model that litellm lists; with
            addresses and `#key=VARIABLE` if wanted. Or a name in the project's table of LMs, whose
            settings the other arguments replace.
        base_url: the server's URL, up to and including `/v1`, or several URLs of replicas. Cache
            keys contain only the first, so replicas can be added and removed. Requests with the
            same instruction and demonstrations go to the same replica if its load allows it;
            requests of a failing replica go to the others.
        api_key: sent to the server; never cached, recorded, logged or shown.
        api_key_env: the environment variable with the key, in place of `api_key`.
        headers: additional HTTP headers; as secret as the key.
        tls: certificate files for an `https` server: authorities and a client certificate.
        temperature: 0 is greedy decoding; None leaves it to the model. By default 0, but not
            sent to models that think, as most of them refuse it.
        max_tokens: maximum tokens of a reply, thoughts included; None leaves it to the server. The
            default depends on the model: 512 for the embedded model and on servers of your own,
            4,096 for hosted models, and more for those that think.
        reasoning: how much the model thinks before it answers: `none`, `minimal`, `low`, `medium`,
            `high`, `xhigh` or `max`, as far as it knows the level, or the maximum tokens of its
            thoughts; None leaves it to the model.
        context: maximum tokens of a call, prompt and reply; by default what litellm lists for the
            model, else 8,192. Token and dollar budgets reserve as much for a call until its size
            is known if it is given, else 8,192 tokens and the room for the reply.
        price: US dollars per million tokens as (prompt, completion), (prompt, completion, cached
            prompt) or (prompt, completion, cached prompt, prompt written to the cache), for models
            whose price litellm does not list.
        timeout: maximum duration of a request in seconds; then it is retried.
        limits: rate limits of each server.
        structured: how the server takes constraints: `vllm` (`structured_outputs`), `openai`
            (`response_format`), `llamacpp` (`response_format` and `grammar`) or `none`; `auto`
            detects the server.
        params: other decoding parameters, passed to the server unchanged (JSON values). None
            leaves out a parameter that lmpipe would send, such as `seed` or `stream_options`.
        takes: what the model takes and refuses, where litellm's table does not say it or is wrong:
            parameters by their names, and `tools`, `images`, `audio`, `files`, `response_format`
            and `reasoning`, as in `{"temperature": False, "tools": True}`. What is refused is
            neither sent nor part of cache keys.
        adapter: the name of a LoRA adapter to use.

    Raises:
        ConfigError: if a value is out of range or not a JSON value, an argument is misspelled, or
            a name without a provider is not in litellm's table.
    """

    model: str
    base_url: str | None
    replicas: tuple[str, ...]
    api_key: str | None = field(repr=False)
    api_key_env: str | None
    headers: Mapping[str, str] = field(repr=False)
    tls: TLS | None = field(repr=False)
    temperature: float | None
    max_tokens: int | None
    reasoning: ReasoningLevel | int | None
    context: int
    price: Price | None
    timeout: float
    limits: Limits
    structured: Structured
    params: Mapping[str, Any]
    takes: Mapping[str, bool]
    adapter: str | None

    @takes_text_form
    def __init__(
        self,
        model: str,
        *,
        base_url: str | Sequence[str] | None = None,
        api_key: str | None = None,
        api_key_env: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: TLS | None = None,
        temperature: float | ByModel | None = BY_MODEL,
        max_tokens: int | ByModel | None = BY_MODEL,
        reasoning: ReasoningLevel | int | None = None,
        context: int | ByModel = BY_MODEL,
        price: Price | Sequence[float] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        structured: Structured = "auto",
        takes: Mapping[str, bool] | None = None,
        adapter: str | None = None,
        **params: Any,
    ) -> None:
        if not model:
            raise ConfigError('an LM needs a model name, such as LM("local")')
        if "/" not in model and model not in _WITHOUT_PROVIDER:
            model = full_name(model)
        asked = Asked(temperature, max_tokens, context, reasoning)
        asked.check()
        check_takes(model, takes or {})
        check_number("LM", "timeout", timeout, above=0)
        check_choice("LM", "structured", structured, get_args(Structured))
        if api_key_env is not None:
            check_key_variable(f"LM({model!r}, api_key_env=…)", api_key_env)
            api_key = api_key or os.environ.get(api_key_env)
        headers = {**(headers or {}), **params.pop("extra_headers", {})}  # litellm's name
        for name in params:
            if meant := meant_option(name, (*IN_KEY, *NOT_IN_KEY)):
                raise ConfigError(f"LM({model!r}) has no option {name!r}; did you mean {meant!r}?")
        if "replicas" in params:
            raise ConfigError(
                f"LM({model!r}): write replicas as base_url=[…], the addresses of all"
            )
        addresses = [base_url] if isinstance(base_url, str) else list(base_url or ())
        addresses = list(dict.fromkeys(address.rstrip("/") for address in addresses if address))
        if len(addresses) > 1 and model.partition("/")[0] not in _ON_SERVERS:
            raise ConfigError(
                f"LM({model!r}): several addresses are for OpenAI-compatible servers: name the "
                'model "vllm/…" or "openai/…", or give one base_url'
            )
        if tls is not None and model.partition("/")[0] not in _ON_SERVERS:
            raise ConfigError(
                f"LM({model!r}): tls= is for OpenAI-compatible servers: name the model "
                '"vllm/…" or "openai/…"'
            )
        try:
            canonical_json(params)
        except TypeError as error:
            raise ConfigError(f"LM({model!r}): parameters must be JSON values: {error}") from error
        values = {
            "model": model,
            "base_url": addresses[0] if addresses else None,
            "replicas": tuple(addresses[1:]),
            "api_key": api_key,
            "api_key_env": api_key_env,
            "headers": MappingProxyType(headers),
            "tls": tls,
            "price": None if price is None else Price.of(price),
            "timeout": timeout,
            "limits": limits or Limits(),
            "structured": structured,
            "params": MappingProxyType(dict(params)),
            "takes": MappingProxyType(dict(takes or {})),
            "adapter": adapter,
            "_asked": asked,
        }
        self._set(values)
        tell_left_out(model, self._settled.left_out)

    def _set(self, values: Mapping[str, Any]) -> None:
        """Set the fields, and those that depend on the model."""
        model, asked = values["model"], values["_asked"]
        settled = settle(model, values["base_url"], asked, values["takes"])
        other_limit = values["params"].get("max_completion_tokens")
        if isinstance(other_limit, int):  # it is sent in place of `max_tokens`
            limited = replace(asked, max_tokens=other_limit)
            other = settle(model, values["base_url"], limited, values["takes"])
            if settled.takes.get("max_completion_tokens") is False:
                settled = other  # under the name that the model takes
            else:
                settled = replace(settled, context=other.context, reserved=other.reserved)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        for name in _ASKED:
            object.__setattr__(self, name, getattr(settled, name))
        object.__setattr__(self, "_settled", settled)

    if TYPE_CHECKING:  # no fields: they follow from the others
        _asked: Asked
        _settled: Settled

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LM):
            return NotImplemented
        mine, others = (
            (
                *(lm.api_key, dict(lm.headers), lm.tls, lm.base_url, dict(lm.params)),
                *(dict(lm.takes), lm.identity()),
            )
            for lm in (self, other)
        )
        return mine == others

    def __repr__(self) -> str:
        shown = {**self.identity(), "context": self.context, "price": self.price}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    def __str__(self) -> str:
        """Its text form, with its addresses and the variable of its key, without secrets."""
        known = (self.api_key or "",)
        addresses = (self.base_url, *self.replicas)
        shown = tuple(public_url(address, known) for address in addresses if address)
        return str(TextForm(self.model, shown, self.api_key_env))

    def __hash__(self) -> int:
        return hash((self.model, self.base_url, self.temperature, self.max_tokens))

    def __copy__(self) -> Self:  # a frozen value may be shared
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, with the key: worker processes of the user need it."""
        state = self.__dict__ | {name: dict(getattr(self, name)) for name in _READ_ONLY}
        for name in _DERIVED:
            state.pop(name, None)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        frozen = {name: MappingProxyType(state[name]) for name in _READ_ONLY}
        self._set({**state, **frozen})

    @property
    def provider(self) -> str:
        """The part of the model before the first slash: `local`, `vllm`, `openai`, …"""
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The part of the model after the first slash: its name on the server."""
        return self.model.partition("/")[2]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must not be shown: its key, headers, and those in URLs and parameters."""
        urls = (self.base_url or "", *self.replicas)
        found = (
            *(self.api_key or "", *self.headers.values()),
            *(secret for url in urls for secret in secrets_in_url(url)),
            *secrets_in(self.params),
        )
        return tuple(filter(None, found))

    def identity(self) -> dict[str, Any]:
        """Return everything that can change a reply, as JSON for cache keys.

        Secrets are left out: headers, keys, and passwords and keys in the URL.
        """
        key = (self.api_key or "",)
        decoding = {
            "temperature": self.temperature,
            self.limit_name: self.max_tokens,
            "reasoning": self.reasoning,
        }
        return {
            "model": self.model,
            "base_url": public_url(self.base_url, key),
            # What is not sent is left out; so is an unset adapter, as in older cache keys.
            **{name: value for name, value in decoding.items() if value is not None},
            "structured": self.structured,
            "params": without_secrets(self.taken_params, key),
            **({"adapter": self.adapter} if self.adapter else {}),
            **(self._declared() if self.takes else {}),
        }

    def _declared(self) -> dict[str, Any]:
        """What `takes` changes in requests, as far as no other part of the identity shows it."""
        about_thoughts = _ABOUT_THOUGHTS if self.reasoning is not None else ()
        defaults = _VLLM_DEFAULTS if self.provider == "vllm" else ()
        added, declared = (*about_thoughts, *defaults), dict[str, Any]()
        if refused := sorted(name for name in added if self.takes.get(name) is False):
            declared["refused"] = refused
        if self.provider == "vllm" and self.takes.get("reasoning") and self.temperature is None:
            declared["thinks"] = True  # then vLLM's defaults are the model's own
        return declared

    @property
    def limit_name(self) -> str:
        """The name under which the limit of a reply is sent, such as `max_completion_tokens`."""
        return self._settled.limit_name

    @property
    def thinks(self) -> bool:
        """Whether the model thinks before it answers, as far as that is known."""
        return self._settled.thinks

    @property
    def asked_to_think(self) -> bool:
        """Whether `reasoning` asks for thoughts, even if the model refuses to be asked."""
        return self._asked.reasoning not in (None, "none")

    @property
    def reserved(self) -> int:
        """The tokens that budgets reserve for one call, prompt and reply, until it is made."""
        return self._settled.reserved

    def accepts(self, name: str) -> bool | None:
        """Return whether the model takes a parameter, `tools`, `images` and the like.

        It is None if neither litellm's table nor `takes` says so.
        """
        return self._settled.takes.get(name)

    @property
    def reply_limit(self) -> tuple[str, int] | None:
        """The setting that limits a reply, and the maximum tokens; None if none is sent."""
        for name in ("max_completion_tokens", "max_tokens"):
            limit = self.params.get(name, self.max_tokens if name == "max_tokens" else None)
            if isinstance(limit, int):
                return name, limit
        return None

    @property
    def taken_params(self) -> Mapping[str, Any]:
        """The `params`, without those that the model refuses."""
        refused = [name for name in self.params if self.accepts(name) is False]
        if not refused:
            return self.params
        return {name: value for name, value in self.params.items() if name not in refused}

    @property
    def sent_params(self) -> dict[str, Any]:
        """The `params` that are sent: those that are not None, and not refused."""
        return {name: value for name, value in self.taken_params.items() if value is not None}

    @property
    def identity_json(self) -> bytes:
        """The identity as canonical JSON, computed once."""
        known: bytes | None = self.__dict__.get("_identity_json")
        if known is None:
            known = canonical_json(self.identity())
            object.__setattr__(self, "_identity_json", known)
        return known

    def with_limits(
        self,
        *,
        in_flight: int | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
        timeout: float | None = None,
    ) -> LM:
        """Return the same LM with other limits or another timeout; its identity stays the same.

        Raises:
            ConfigError: if one of them is not above 0.
        """
        given = {"in_flight": in_flight, "rpm": rpm, "tpm": tpm}
        changed: dict[str, Any] = {k: limit for k, limit in given.items() if limit is not None}
        changes: dict[str, Any] = {"limits": replace(self.limits, **changed)}
        if timeout is not None:
            check_number("LM", "timeout", timeout, above=0)
            changes["timeout"] = timeout
        return self._changed(changes)

    def with_model(self, model: str) -> LM:
        """Return another model, on the same server if the provider is the same.

        It has no adapter, and neither `price` nor `takes`: they are one model's. A name in the
        project's table of LMs stands for that LM, with its own server and settings.

        Raises:
            ConfigError: if the model's name has an address or a key: a learned state, which others
                may have written, must not say where data and keys are sent.
        """
        if model == self.model:
            return self
        if parse_text_form(model).settings:
            raise ConfigError(
                f"{model}: the state of a program names a model, and must not say where it is "
                "served: give the predictor lm=…, or name the LM in the table [lms] of lmpipe.toml"
            )
        other = LM(model)
        if other.provider != self.provider or is_named(model):
            return other
        own = {"model": other.model, "adapter": None, "price": other.price, "takes": other.takes}
        changed = self._changed(own)
        tell_left_out(model, changed._settled.left_out)
        return changed

    def at(self, base_url: str, *, api_key: str | None = None) -> LM:
        """Return the same LM at another URL, with its current key unless another is given."""
        changes: dict[str, Any] = {"base_url": base_url, "replicas": ()}
        if api_key:
            changes |= {"api_key": api_key, "api_key_env": None}
        return self._changed(changes)

    def with_adapter(self, adapter: str | None) -> LM:
        """Return the same LM with a LoRA adapter, named as on the server.

        Raises:
            ConfigError: if this LM's provider does not support adapters.
        """
        if self.provider not in _ON_SERVERS:
            raise ConfigError(
                f"LM({self.model!r}) cannot use the adapter {adapter}: serve its weights with vLLM "
                'and name the model "vllm/…"'
            )
        return self._changed({"adapter": adapter})

    def with_settings(self, **settings: Any) -> LM:
        """Return a copy with other decoding settings; unknown names become `params`.

        None leaves a setting out of requests.

        Raises:
            ConfigError: if a value is out of range.
        """
        given = {name: settings.pop(name) for name in _ASKED if name in settings}
        asked = replace(self._asked, **given)
        asked.check()
        changes: dict[str, Any] = {"_asked": asked}
        if settings:
            changes["params"] = MappingProxyType({**self.params, **settings})
        changed = self._changed(changes)
        left_out = changed._settled.left_out
        tell_left_out(self.model, {name: why for name, why in left_out.items() if name in given})
        return changed

    def with_takes(self, takes: Mapping[str, bool]) -> LM:
        """Return the same LM, whose model takes and refuses this too; see `LM`."""
        check_takes(self.model, takes)
        return self._changed({"takes": MappingProxyType({**self.takes, **takes})})

    def _changed(self, changes: Mapping[str, Any]) -> LM:
        copy = object.__new__(type(self))
        values = {**self.__dict__, **changes}
        for name in _DERIVED:
            values.pop(name, None)
        copy._set(values)
        return copy


@overload
def as_lm(given: LM | str) -> LM: ...
@overload
def as_lm(given: LM | str | None) -> LM | None: ...
def as_lm(given: LM | str | None) -> LM | None:
    """Return an LM, which may be given by its name; None stays.

    Raises:
        ConfigError: if it is anything else.
    """
    if isinstance(given, str):
        return LM(given)
    if given is not None and not isinstance(given, LM):
        raise ConfigError(
            f"not an LM: {given!r:.100}; give lmpipe.LM(…) or the name of a model, such as "
            '"openai/gpt-4o-mini"'
        )
    return given
