"""The checks of what `LM` is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from lmpipe.errors import ConfigError
from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.checks import check_choice, check_number
from lmpipe.lm.identity import IN_KEY, NOT_IN_KEY
from lmpipe.lm.parameters import meant_option
from lmpipe.lm.tls import TLS

Structured = Literal["auto", "vllm", "openai", "llamacpp", "none"]

# The providers whose servers have OpenAI's API at an address of the user.
ON_SERVERS = ("vllm", "openai", "scripted")

# What other libraries take for an LM, and lmpipe for all LMs together.
_OF_THE_RUNTIME = ("attempts", "retries", "num_retries", "max_retries", "max_in_flight", "cache")


def check_timeout(timeout: float) -> None:
    """Raise a ConfigError if the maximum duration of a request is not above 0."""
    check_number("LM", "timeout", timeout, above=0)


def check_structured(structured: str) -> None:
    """Raise a ConfigError if this is not a known form of constraints."""
    check_choice("LM", "structured", structured, get_args(Structured))


def check_params(model: str, params: Mapping[str, Any]) -> None:
    """Check the decoding parameters that are passed to the server.

    Raises:
        ConfigError: if one misspells an option of `LM`, is set elsewhere, or is not a JSON value.
    """
    for name in params:
        if name in _OF_THE_RUNTIME:
            raise ConfigError(
                f"LM({model!r}) has no option {name!r}: the runtime caches, retries and limits the "
                "requests of all LMs: lmpipe.configure(cache=…, max_in_flight=…), and --attempts "
                "on the command line"
            )
        if meant := meant_option(name, (*IN_KEY, *NOT_IN_KEY)):
            raise ConfigError(f"LM({model!r}) has no option {name!r}; did you mean {meant!r}?")
    if "replicas" in params:
        raise ConfigError(f"LM({model!r}): write replicas as base_url=[…], the addresses of all")
    try:
        canonical_json(params)
    except TypeError as error:
        raise ConfigError(f"LM({model!r}): parameters must be JSON values: {error}") from error


def read_addresses(
    model: str, base_url: str | Sequence[str] | None, tls: TLS | None
) -> tuple[str, ...]:
    """Return the addresses of all servers of an LM, each once.

    Raises:
        ConfigError: if the provider has no servers of the user, but there are several addresses, or
            certificate files.
    """
    given: Iterable[str] = [base_url] if isinstance(base_url, str) else base_url or ()
    addresses = tuple(dict.fromkeys(address.rstrip("/") for address in given if address))
    if model.partition("/")[0] in ON_SERVERS:
        return addresses
    if len(addresses) > 1:
        raise ConfigError(
            f"LM({model!r}): several addresses are for OpenAI-compatible servers: name the "
            'model "vllm/…" or "openai/…", or give one base_url'
        )
    if tls is not None:
        raise ConfigError(
            f"LM({model!r}): tls= is for OpenAI-compatible servers: name the model "
            '"vllm/…" or "openai/…"'
        )
    return addresses
