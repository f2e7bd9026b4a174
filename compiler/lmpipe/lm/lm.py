"""`LM`: the frozen description of a language model and how it decodes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from lmpipe.errors import ConfigError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.checks import check_fields, check_number
from lmpipe.lm.prices import Price
from lmpipe.lm.tls import TLS

DEFAULT_MAX_TOKENS = 512
DEFAULT_CONTEXT = 8192
DEFAULT_TIMEOUT = 600.0

Structured = Literal["auto", "vllm", "openai", "llamacpp", "none"]

# Every field of an `LM` is in one of these two; the cache key has the former and never the latter.
IN_KEY = ("model", "base_url", "temperature", "max_tokens", "structured", "params", "adapter")
NOT_IN_KEY = ("replicas", "api_key", "headers", "tls", "context", "price", "timeout", "limits")

_ON_SERVERS = ("vllm", "openai", "scripted")

# Names of parameters that carry secrets to servers; `max_tokens` and the like do not match.
_SECRET = re.compile(
    r"(^|_)(api_?key|secret|password|credentials?|headers?|authorization|"
    r"(access|auth|ad|bearer|session|security)_token)(_|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What each server of an LM may be asked at most; None is no limit of its own.

    Rates are kept evenly: a minute's allowance is never sent as one burst.

    Args:
        in_flight: requests in flight at a time; the runtime's own limit by default. While a
            server answers that it is overloaded, fewer are sent.
        rpm: requests per minute.
        tpm: tokens per minute, prompt and completion together. What a request will take is
            guessed from those before it, and put right when its reply has come.

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
class LM:
    """A language model, where it is reached and how it decodes.

    Examples:
        `LM("local")` is the embedded model, `LM("local/<file>.gguf")` any other weights file,
        `LM("vllm/<model>", base_url="http://127.0.0.1:8000/v1")` a vLLM server,
        `LM("openai/<model>", base_url=…)` any OpenAI-compatible server, and
        `LM("<provider>/<model>")` whatever litellm knows by that name.

    Args:
        model: `<provider>/<model>`, or `local`.
        base_url: the server's address, up to and including `/v1`; or several, of replicas of one
            model. The first one names the endpoint in cache keys, so that replicas may come and
            go. Requests with the same instruction and demonstrations go to the same replica as
            long as the load allows it, and those of a replica that fails go to the others.
        api_key: sent to the server; never cached, recorded, logged or shown.
        headers: further HTTP headers; as secret as the key.
        tls: certificate files for an `https` server: its authorities, a client certificate.
        temperature: 0 decodes greedily.
        max_tokens: the longest reply, in tokens.
        context: the most tokens that one call can take, prompt and reply together. Budgets of
            tokens and money reserve this much for a call until its true size is known.
        price: US dollars per million tokens as (prompt, completion) or (prompt, completion,
            cached prompt), for models whose price litellm does not list.
        timeout: the longest that one request may take, in seconds; then it is asked again.
        limits: how much each server may be asked at most.
        structured: how the server takes constraints: `vllm` (`structured_outputs`), `openai`
            (`response_format`), `llamacpp` (`response_format` and `grammar`) or `none`; `auto`
            asks the server what it is.
        params: further decoding parameters, passed to the server as they are (JSON values).
        adapter: the name of a LoRA adapter that answers in place of the model's own weights.

    Raises:
        ConfigError: if a value is out of range or no JSON value.
    """

    model: str
    base_url: str | None
    replicas: tuple[str, ...]
    api_key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    tls: TLS | None = field(repr=False)
    temperature: float
    max_tokens: int
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
        temperature: float = 0.0,
        max_tokens: int = DEFAULT_MAX_TOKENS,
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
        check_number("LM", "temperature", temperature, minimum=0)
        check_number("LM", "max_tokens", max_tokens, minimum=1, integer=True)
        check_number("LM", "context", context, minimum=1, integer=True)
        check_number("LM", "timeout", timeout, above=0)
        if structured not in get_args(Structured):
            raise ConfigError(
                f"LM({model!r}): structured is {structured!r}, must be one of "
                f"{', '.join(get_args(Structured))}"
            )
        headers = {**(headers or {}), **params.pop("extra_headers", {})}  # litellm's name for them
        addresses = [base_url] if isinstance(base_url, str) else list(base_url or ())
        addresses = list(dict.fromkeys(address.rstrip("/") for address in addresses if address))
        if len(addresses) > 1 and model.partition("/")[0] not in _ON_SERVERS:
            raise ConfigError(
                f"LM({model!r}): several addresses are for OpenAI-compatible servers: name the "
                'model "vllm/…" or "openai/…", or give one base_url'
            )
        if tls is not None and not _takes_tls(model, base_url=bool(addresses)):
            raise ConfigError(
                f"LM({model!r}): tls= is for OpenAI-compatible servers: name the model "
                '"vllm/…", or "openai/…" with base_url='
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
            "temperature": float(temperature),
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

    @property
    def provider(self) -> str:
        """The part of the name before the first slash: `local`, `vllm`, `openai`, …"""
        return self.model.partition("/")[0]

    @property
    def name(self) -> str:
        """The part of the name after the first slash: what the server calls the model."""
        return self.model.partition("/")[2]

    def identity(self) -> dict[str, Any]:
        """All that can change a reply, as JSON: goes into cache keys, holds no secret.

        Parameters such as headers and keys are left out, and so is a password in the address.
        """
        return {
            "model": self.model,
            "base_url": without_password(self.base_url),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "structured": self.structured,
            "params": without_secrets(self.params),
            # Left out where there is none: keys from before it was there stay as they are.
            **({"adapter": self.adapter} if self.adapter else {}),
        }

    @property
    def identity_json(self) -> bytes:
        """The identity as canonical JSON, worked out once."""
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
        """The same LM with other limits or another timeout, which are no part of its identity.

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

    def named(self, model: str) -> LM:
        """Another model, at the same server if it is of the same provider."""
        other = LM(model)
        if other.provider != self.provider:
            return other
        return self._changed({"model": model})

    def at(self, base_url: str, *, api_key: str | None = None) -> LM:
        """The same LM at one address, which is part of its identity; its own key by default."""
        changes = {"base_url": base_url, "replicas": (), "api_key": api_key or self.api_key}
        return self._changed(changes)

    def with_adapter(self, adapter: str | None) -> LM:
        """The same LM with the weights of a LoRA adapter, by the name that its server knows.

        Raises:
            ConfigError: if this LM is not on a server that takes adapters.
        """
        if self.provider not in _ON_SERVERS:
            raise ConfigError(
                f"LM({self.model!r}) takes no adapter ({adapter}): serve its weights with vLLM "
                'and name it "vllm/…"'
            )
        return self._changed({"adapter": adapter})

    def with_settings(self, **settings: Any) -> LM:
        """A copy with some decoding settings changed; unknown names become `params`."""
        own = [key for key in ("temperature", "max_tokens") if key in settings]
        known: dict[str, Any] = {key: settings.pop(key) for key in own}
        if "temperature" in known:
            known["temperature"] = float(known["temperature"])
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


def _takes_tls(model: str, *, base_url: bool) -> bool:
    """Whether lmpipe connects to the LM's server itself."""
    provider = model.partition("/")[0]
    return provider in _ON_SERVERS and (provider != "openai" or base_url)


def without_secrets(value: Any) -> Any:
    """Parameters as they may be stored and shown: without those whose names say secrets."""
    if isinstance(value, Mapping):
        return {k: without_secrets(v) for k, v in value.items() if not _SECRET.search(str(k))}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return value


def without_password(url: str | None) -> str | None:
    """An address as it may be stored and shown: without the user and password in it."""
    if url is None or "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
