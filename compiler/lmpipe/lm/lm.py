"""`LM`: the frozen description of a language model and how it decodes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from lmpipe.canonical import canonical_json
from lmpipe.errors import ConfigError

DEFAULT_MAX_TOKENS = 512
DEFAULT_CONTEXT = 8192
DEFAULT_TIMEOUT = 600.0

Structured = Literal["auto", "vllm", "openai", "llamacpp", "none"]

# Every field of an `LM` is in one of these two; the cache key has the former and never the latter.
IN_KEY = ("model", "base_url", "temperature", "max_tokens", "structured", "params")
NOT_IN_KEY = ("replicas", "api_key", "headers", "context", "price", "timeout", "limits")

# Names of parameters that carry secrets to servers; `max_tokens` and the like do not match.
_SECRET = re.compile(
    r"(^|_)(api_?key|secret|password|credentials?|headers?|authorization|"
    r"(access|auth|ad|bearer|session|security)_token)(_|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an endpoint may be asked at most; None is no limit of its own.

    Args:
        in_flight: requests in flight at a time; the runtime's own limit by default.
        rpm: requests per minute.
        tpm: tokens per minute, prompt and completion together.

    Raises:
        ConfigError: if a limit is not above 0.
    """

    in_flight: int | None = None
    rpm: float | None = None
    tpm: float | None = None

    def __post_init__(self) -> None:
        if any(limit is not None and limit <= 0 for limit in (self.in_flight, self.rpm, self.tpm)):
            raise ConfigError(f"{self}: limits must be above 0")


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
            go.
        api_key: sent to the server; never cached, recorded, logged or shown.
        headers: further HTTP headers; as secret as the key.
        temperature: 0 decodes greedily.
        max_tokens: the longest reply, in tokens.
        context: the most tokens that one call can take, prompt and reply together. Budgets of
            tokens and money reserve this much for a call until its true size is known.
        price: US dollars per million prompt tokens and per million completion tokens, for
            models whose price litellm does not know.
        timeout: the longest that one request may take, in seconds; then it is asked again.
        limits: how much the endpoint may be asked at most.
        structured: how the server takes constraints: `vllm` (`structured_outputs`), `openai`
            (`response_format`), `llamacpp` (`response_format` and `grammar`) or `none`; `auto`
            asks the server what it is.
        params: further decoding parameters, passed to the server as they are (JSON values).

    Raises:
        ConfigError: if a value is out of range or no JSON value.
    """

    model: str
    base_url: str | None
    replicas: tuple[str, ...]
    api_key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    temperature: float
    max_tokens: int
    context: int
    price: tuple[float, float] | None
    timeout: float
    limits: Limits
    structured: Structured
    params: Mapping[str, Any]

    def __init__(
        self,
        model: str,
        *,
        base_url: str | Sequence[str] | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        temperature: float = 0.0,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        context: int = DEFAULT_CONTEXT,
        price: tuple[float, float] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        limits: Limits | None = None,
        structured: Structured = "auto",
        **params: Any,
    ) -> None:
        if not model:
            raise ConfigError('an LM needs a model name, such as LM("local")')
        if temperature < 0:
            raise ConfigError(f"LM({model!r}): temperature is {temperature}, must be 0 or more")
        if max_tokens < 1:
            raise ConfigError(f"LM({model!r}): max_tokens is {max_tokens}, must be 1 or more")
        if timeout <= 0:
            raise ConfigError(f"LM({model!r}): timeout is {timeout}, must be above 0")
        if structured not in get_args(Structured):
            raise ConfigError(
                f"LM({model!r}): structured is {structured!r}, must be one of "
                f"{', '.join(get_args(Structured))}"
            )
        addresses = [base_url] if isinstance(base_url, str) else list(base_url or ())
        addresses = [address.rstrip("/") for address in addresses if address]
        try:
            canonical_json(params)
        except TypeError as error:
            raise ConfigError(f"LM({model!r}): parameters must be JSON values: {error}") from error
        values = {
            "model": model,
            "base_url": addresses[0] if addresses else None,
            "replicas": tuple(addresses[1:]),
            "api_key": api_key,
            "headers": MappingProxyType(dict(headers or {})),
            "temperature": float(temperature),
            "max_tokens": max_tokens,
            "context": context,
            "price": price,
            "timeout": timeout,
            "limits": limits or Limits(),
            "structured": structured,
            "params": MappingProxyType(dict(params)),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LM):
            return NotImplemented
        mine, others = (
            (lm.api_key, dict(lm.headers), lm.base_url, dict(lm.params), lm.identity())
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
        }

    def at_price(self, price: tuple[float, float]) -> LM:
        """The same LM at a price; the price is no part of its identity."""
        copy = self.with_settings()
        object.__setattr__(copy, "price", price)
        return copy

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for so many tokens; 0 where no price is given."""
        if self.price is None:
            return 0.0
        return (prompt_tokens * self.price[0] + completion_tokens * self.price[1]) / 1e6

    def named(self, model: str) -> LM:
        """Another model, at the same server if it is of the same provider."""
        other = LM(model)
        if other.provider != self.provider:
            return other
        copy = self.with_settings()
        object.__setattr__(copy, "model", model)
        return copy

    def with_settings(self, **settings: Any) -> LM:
        """A copy with some decoding settings changed; unknown names become `params`."""
        own = [key for key in ("temperature", "max_tokens") if key in settings]
        known: dict[str, Any] = {key: settings.pop(key) for key in own}
        if "temperature" in known:
            known["temperature"] = float(known["temperature"])
        if settings:
            known["params"] = MappingProxyType({**self.params, **settings})
        copy = object.__new__(type(self))
        for name, value in {**self.__dict__, **known}.items():
            object.__setattr__(copy, name, value)
        return copy


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
