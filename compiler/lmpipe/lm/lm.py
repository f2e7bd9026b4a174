"""`LM`: the frozen description of a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, Self, get_args, overload

from lmpipe.errors import ConfigError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.checks import check_choice, check_fields, check_number
from lmpipe.foundation.redaction import (
    public_url,
    secrets_in,
    secrets_in_url,
    without_secrets,
)
from lmpipe.lm.ask import DirectCalls
from lmpipe.lm.parameters import meant_option
from lmpipe.lm.prices import Price
from lmpipe.lm.tls import TLS

DEFAULT_MAX_TOKENS = 512
DEFAULT_CONTEXT = 8192
DEFAULT_TIMEOUT = 600.0

Structured = Literal["auto", "vllm", "openai", "llamacpp", "none"]

# Every field of an `LM` is in one of these; the cache key contains only the first.
IN_KEY = ("model", "base_url", "temperature", "max_tokens", "structured", "params", "adapter")
NOT_IN_KEY = ("replicas", "api_key", "headers", "tls", "context", "price", "timeout", "limits")

# The fields that are read-only mappings, which cannot be pickled.
_READ_ONLY = ("headers", "params")

_ON_SERVERS = ("vllm", "openai", "scripted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The rate limits of each server of an LM; None is unlimited.

    Requests are spread evenly: the allowance of a minute is never sent as one burst.

    Args:
        in_flight: maximum number of requests in flight; by default the limit of the runtime.
            While a server reports that it is overloaded, the limit is lower.
        rpm: maximum requests per minute.
        tpm: maximum tokens per minute, prompt and completion. The tokens of a request are
            estimated from earlier ones, and corrected when the reply arrives.

    Raises:
        ConfigError: if a limit is not above 0.
    """

    in_flight: int | None = None
    rpm: float | None = None
    tpm: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, "in_flight", minimum=1, integer=True, optional=True)
        check_fields(self, "rpm", "tpm", above=0, optional=True)


@dataclass(frozen=True, init=False, eq=False)
class LM(DirectCalls):
    """A language model: where it is, and how it decodes.

    Examples:
        `LM("local")` is the embedded model, `LM("local/<file>.gguf")` another weights file,
        `LM("vllm/<model>", base_url="http://127.0.0.1:8000/v1")` a model on a vLLM server,
        `LM("openai/<model>", base_url=…)` a model on any OpenAI-compatible server,
        `LM("openai/<model>")` one of OpenAI's own (or of the server that `OPENAI_BASE_URL`
        names), and `LM("<provider>/<model>")` any model that litellm knows by that name.
        `lm("…")` asks it directly and returns a `Reply`.

    Args:
        model: `<provider>/<model>`, or `local`.
        base_url: the server's URL, up to and including `/v1`, or several URLs of replicas. Cache
            keys contain only the first, so replicas can be added and removed. Requests with the
            same instruction and demonstrations go to the same replica if its load allows it;
            requests of a failing replica go to the others.
        api_key: sent to the server; never cached, recorded, logged or shown.
        headers: additional HTTP headers; as secret as the key.
        tls: certificate files for an `https` server: authorities and a client certificate.
        temperature: 0 is greedy decoding; None leaves it to the model.
        max_tokens: maximum tokens of a reply; None leaves it to the server.
        context: maximum tokens of a call, prompt and reply. Token and dollar budgets reserve as
            much for a call until its size is known.
        price: US dollars per million tokens as (prompt, completion) or (prompt, completion,
            cached prompt), for models whose price litellm does not list.
        timeout: maximum duration of a request in seconds; then it is retried.
        limits: rate limits of each server.
        structured: how the server takes constraints: `vllm` (`structured_outputs`), `openai`
            (`response_format`), `llamacpp` (`response_format` and `grammar`) or `none`; `auto`
            detects the server.
        params: other decoding parameters, passed to the server unchanged (JSON values). None
            leaves out a parameter that lmpipe would send, such as `seed` or `stream_options`.
        adapter: the name of a LoRA adapter to use.

    Raises:
        ConfigError: if a value is out of range or not a JSON value, or an argument is misspelled.
    """

    model: str
    base_url: str | None
    replicas: tuple[str, ...]
    api_key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    tls: TLS | None = field(repr=False)
    temperature: float | None
    max_tokens: int | None
    context: int
    price: Price | None
    timeout: float
    limits: Limits
    structured: Structured
    params: Mapping[str, Any]
    adapter: str | None

    def __init__(
        self,
        model: str,
        *,
        base_url: str | Sequence[str] | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        tls: TLS | None = None,
        temperature: float | None = 0.0,
        max_tokens: int | None = DEFAULT_MAX_TOKENS,
        context: int = DEFAULT_CONTEXT,
        price: Price | Sequence[float] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        structured: Structured = "auto",
        adapter: str | None = None,
        **params: Any,
    ) -> None:
        if not model:
            raise ConfigError('an LM needs a model name, such as LM("local")')
        _check_decoding(temperature, max_tokens)
        check_number("LM", "context", context, minimum=1, integer=True)
        check_number("LM", "timeout", timeout, above=0)
        check_choice("LM", "structured", structured, get_args(Structured))
        headers = {**(headers or {}), **params.pop("extra_headers", {})}  # litellm's name
        for name in params:
            if meant := meant_option(name, (*IN_KEY, *NOT_IN_KEY)):
                raise ConfigError(f"LM({model!r}) has no option {name!r}; did you mean {meant!r}?")
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
            "headers": MappingProxyType(headers),
            "tls": tls,
            "temperature": None if temperature is None else float(temperature),
            "max_tokens": max_tokens,
            "context": context,
            "price": None if price is None else Price.of(price),
            "timeout": timeout,
            "limits": limits or Limits(),
            "structured": structured,
            "params": MappingProxyType(dict(params)),
            "adapter": adapter,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LM):
            return NotImplemented
        mine, others = (
            (lm.api_key, dict(lm.headers), lm.tls, lm.base_url, dict(lm.params), lm.identity())
            for lm in (self, other)
        )
        return mine == others

    def __repr__(self) -> str:
        shown = {**self.identity(), "context": self.context, "price": self.price}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

    def __hash__(self) -> int:
        return hash((self.model, self.base_url, self.temperature, self.max_tokens))

    def __copy__(self) -> Self:  # a frozen value may be shared
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, with the key: worker processes of the user need it."""
        state = self.__dict__ | {name: dict(getattr(self, name)) for name in _READ_ONLY}
        state.pop("_identity_json", None)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        frozen = {name: MappingProxyType(state[name]) for name in _READ_ONLY}
        self.__dict__.update({**state, **frozen})

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
        decoding = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {
            "model": self.model,
            "base_url": public_url(self.base_url, key),
            # What is not sent is left out; so is an unset adapter, as in older cache keys.
            **{name: value for name, value in decoding.items() if value is not None},
            "structured": self.structured,
            "params": without_secrets(self.params, key),
            **({"adapter": self.adapter} if self.adapter else {}),
        }

    @property
    def reply_limit(self) -> tuple[str, int] | None:
        """The parameter that limits a reply, and the maximum tokens; None if none is sent."""
        for name in ("max_completion_tokens", "max_tokens"):
            limit = self.params.get(name, self.max_tokens if name == "max_tokens" else None)
            if isinstance(limit, int):
                return name, limit
        return None

    @property
    def sent_params(self) -> dict[str, Any]:
        """The `params` that are sent: those that are not None."""
        return {name: value for name, value in self.params.items() if value is not None}

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

        It has no adapter: one is made for one model.
        """
        if model == self.model:
            return self
        other = LM(model)
        if other.provider != self.provider:
            return other
        return self._changed({"model": model, "adapter": None})

    def at(self, base_url: str, *, api_key: str | None = None) -> LM:
        """Return the same LM at another URL, with its current key unless another is given."""
        changes = {"base_url": base_url, "replicas": (), "api_key": api_key or self.api_key}
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
        temperature = settings.pop("temperature", self.temperature)
        max_tokens = settings.pop("max_tokens", self.max_tokens)
        _check_decoding(temperature, max_tokens)
        known: dict[str, Any] = {
            "temperature": None if temperature is None else float(temperature),
            "max_tokens": max_tokens,
        }
        if settings:
            known["params"] = MappingProxyType({**self.params, **settings})
        return self._changed(known)

    def _changed(self, changes: Mapping[str, Any]) -> LM:
        copy = object.__new__(type(self))
        values = {**self.__dict__, **changes}
        values.pop("_identity_json", None)
        for name, value in values.items():
            object.__setattr__(copy, name, value)
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


def _check_decoding(temperature: float | None, max_tokens: int | None) -> None:
    check_number("LM", "temperature", temperature, minimum=0, optional=True)
    check_number("LM", "max_tokens", max_tokens, minimum=1, integer=True, optional=True)
