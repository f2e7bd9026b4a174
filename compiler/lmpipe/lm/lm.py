"""`LM`: the frozen description of a language model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, overload

from lmpipe.errors import ConfigError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.redaction import public_url, secrets_in, secrets_in_url
from lmpipe.lm.arguments import (
    Structured,
    check_params,
    check_structured,
    check_timeout,
    read_addresses,
)
from lmpipe.lm.ask import DirectCalls
from lmpipe.lm.copies import ChangedCopies
from lmpipe.lm.defaults import (
    ASKED,
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
from lmpipe.lm.identity import identity_of
from lmpipe.lm.limits import Limits
from lmpipe.lm.model_table import check_no_key, facts_of, full_name
from lmpipe.lm.prices import Price
from lmpipe.lm.text_form import TextForm, check_key_variable, takes_text_form
from lmpipe.lm.tls import TLS

__all__ = ["BY_MODEL", "DEFAULT_CONTEXT", "DEFAULT_MAX_TOKENS", "LM", "Limits", "as_lm"]

DEFAULT_TIMEOUT = 600.0

# The fields that are read-only mappings, which cannot be pickled.
_READ_ONLY = ("headers", "params", "takes")
# What `_set` and `identity_json` derive from the other fields.
_DERIVED = (*ASKED, "provider", "_settled", "_identity_json")
# Without a provider in their name.
_WITHOUT_PROVIDER = ("local", "vllm", "openai", "scripted")


@dataclass(frozen=True, init=False, eq=False)
class LM(DirectCalls, ChangedCopies):
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

    Attributes:
        provider: the part of the model before the first slash: `local`, `vllm`, `openai`, …
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
        check_no_key(model)
        asked = Asked(temperature, max_tokens, context, reasoning)
        asked.check()
        check_takes(model, takes or {})
        check_timeout(timeout)
        check_structured(structured)
        if api_key_env is not None:
            check_key_variable(f"LM({model!r}, api_key_env=…)", api_key_env)
            api_key = api_key or os.environ.get(api_key_env)
        headers = {**(headers or {}), **params.pop("extra_headers", {})}  # litellm's name
        check_params(model, params)
        addresses = read_addresses(model, base_url, tls)
        values = {
            "model": model,
            "base_url": addresses[0] if addresses else None,
            "replicas": addresses[1:],
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
        for name in ASKED:
            object.__setattr__(self, name, getattr(settled, name))
        object.__setattr__(self, "provider", model.partition("/")[0])
        object.__setattr__(self, "_settled", settled)

    if TYPE_CHECKING:  # no fields: they follow from the others
        provider: str
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
        return identity_of(self)

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
    def assumes_context(self) -> bool:
        """Whether nobody gave or listed its context, so that `context` is a usual one."""
        return self._asked.context is BY_MODEL and not facts_of(self.model, self.base_url).context

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
