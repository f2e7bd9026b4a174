"""`ServeOptions`: the limits of a server and who may use it."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmpipe.errors import ConfigError
from lmpipe.foundation.checks import check_fields
from lmpipe.lm.http.address import is_loopback

_SHORTEST_KEY = 8  # characters; a shorter one is guessed


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The limits of a server and who may use it.

    Args:
        concurrency: the maximum number of runs at the same time; more are answered with 429.
        deadline: the longest time of one run, in seconds; None means unlimited.
        max_calls: the maximum number of LM calls of one run; None means unlimited.
        max_batch: the maximum number of rows in one batch.
        max_body: the largest body of a request, in bytes.
        keys: the API keys of clients; without any, everyone may send requests.
        admin_keys: the keys of those who may swap runs; without any, nobody may.
        local_only: whether requests must name this machine as their host, so that no web page of
            another site can send them from a browser here.

    Raises:
        ConfigError: if a number is out of range, or a key is too short.
    """

    concurrency: int = 64
    deadline: float | None = 120.0
    max_calls: int | None = None
    max_batch: int = 1_000
    max_body: int = 10_000_000
    keys: Sequence[str] = field(default=(), repr=False)
    admin_keys: Sequence[str] = field(default=(), repr=False)
    local_only: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "concurrency", "max_batch", "max_body", minimum=1, integer=True)
        check_fields(self, "deadline", above=0, optional=True)
        check_fields(self, "max_calls", minimum=1, integer=True, optional=True)
        for key in (*self.keys, *self.admin_keys):
            if len(key) < _SHORTEST_KEY or not key.isascii():
                raise ConfigError(
                    f"an API key of the server has {len(key)} characters, or others than ASCII: "
                    f"give {_SHORTEST_KEY} or more, as `openssl rand -hex 24` makes them"
                )

    def admits(self, key: str) -> bool:
        """Whether a client with this key may send requests."""
        return not self.keys or _is_one_of(key, (*self.keys, *self.admin_keys))

    def administers(self, key: str) -> bool:
        """Whether a client with this key may swap runs."""
        return _is_one_of(key, self.admin_keys)


def _is_one_of(key: str, keys: Sequence[str]) -> bool:
    """Whether a key is one of these; takes the same time whichever it is, and however close."""
    given = key.encode(errors="replace")
    same = [hmac.compare_digest(given, item.encode()) for item in keys]
    return any(same)


def check_exposure(host: str, options: ServeOptions, *, public: bool) -> None:
    """Raise a ConfigError for a server that strangers could use without a key, unless told so."""
    if not (is_loopback(host) or options.keys or public):
        raise ConfigError(
            f"everyone who reaches {host} could use this server: set keys in the environment "
            "variable LMPIPE_SERVE_KEYS, or say --public to serve without"
        )
