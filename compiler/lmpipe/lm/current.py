"""The defaults that hold for an LM call now: the LM, the runtime, the embedder.

`lmpipe.settings` changes them, for the process or for a block.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from lmpipe.errors import LMError
from lmpipe.foundation.checks import check_number
from lmpipe.lm.lm import LM
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy


@dataclass(frozen=True)
class Settings:
    """The defaults of LM calls.

    Args:
        lm: the LM of predictors without their own.
        runtime: carries out the calls.
        embedder: the embedding LM of programs whose demonstrations are chosen by embeddings.
    """

    lm: LM
    runtime: Runtime
    embedder: LM | None = None


# The LM of calls for which nobody named one; the same object, so that this can be told from an
# equal LM that was named.
DEFAULT_LM = LM("local")

_lock = threading.Lock()
_configured: Settings | None = None
_override: ContextVar[Settings | None] = ContextVar("lmpipe_settings", default=None)


# Runtimes that only this module can close.
_made: list[Runtime] = []
_process = os.getpid()

# Receives every runtime before it is used, while a test has a cassette.
_intercept: Callable[[Runtime], None] | None = None


def close_at_exit(runtime: Runtime) -> Runtime:
    """Have a runtime closed when the process ends; return it."""
    if not _made:
        atexit.register(_close_made)
    _made.append(runtime)
    return runtime


def _close_made() -> None:
    if os.getpid() == _process:  # a forked child must not close its parent's connections
        for runtime in _made:
            # Since Python 3.12 no thread can be started here, which the embedded engine needs to
            # close; its own finalizer closes it.
            with contextlib.suppress(RuntimeError):
                runtime.close()


def current_settings() -> Settings:
    """Return the current settings: of `using`, else of `configure`, else the defaults."""
    settings = _override.get() or _configured or configured_settings()
    if _intercept is not None:
        _intercept(settings.runtime)
    return settings


@contextmanager
def intercepting(intercept: Callable[[Runtime], None]) -> Iterator[None]:
    """Inspect every runtime before it is used for a call, in all threads and tasks.

    Unlike `using`, this holds whatever the code inside configures, and wherever it runs. The
    innermost of nested calls holds. `intercept` is called with a runtime, often more than once.
    """
    global _intercept  # noqa: PLW0603 - a test redirects the calls of the whole process
    before = _intercept
    _intercept = intercept
    try:
        yield
    finally:
        _intercept = before


@contextmanager
def overriding(settings: Settings) -> Iterator[None]:
    """Let other settings hold inside a block, in this thread or task only."""
    token = _override.set(settings)
    try:
        yield
    finally:
        _override.reset(token)


def set_configured(settings: Settings) -> None:
    """Change the settings of this process."""
    global _configured  # noqa: PLW0603 - `configure` is the one explicit global
    with _lock:
        _configured = settings


def is_configured() -> bool:
    """Whether the settings of this process have been set or used."""
    return _configured is not None


def configured_settings() -> Settings:
    """Return the settings of this process, which hold outside of `using`."""
    global _configured  # noqa: PLW0603 - `configure` is the one explicit global
    if _configured is None:
        with _lock:
            if _configured is None:
                _configured = Settings(DEFAULT_LM, close_at_exit(make_runtime()))
    return _configured


def configured_lm() -> LM:
    """Return the LM of the current settings, without making a runtime or a cache."""
    settings = _override.get() or _configured
    return settings.lm if settings else DEFAULT_LM


def configured_embedder() -> LM | None:
    """Return the embedder of the current settings, if any, without making a runtime or a cache."""
    settings = _override.get() or _configured
    return settings.embedder if settings else None


def make_runtime(
    *,
    cache: Path | str | bool | None = True,
    max_in_flight: int = 64,
    attempts: int | None = None,
    on_retry: Callable[[int, float, LMError], None] | None = None,
) -> Runtime:
    """Make a runtime with a disk cache.

    Args:
        cache: the cache's folder; True for the default one (`$LMPIPE_CACHE`, or in the user's cache
            folder); False or None for no cache.
        max_in_flight: the maximum number of requests in flight to one server, 1 or more.
        attempts: the maximum number of attempts of a request whose server is unavailable.
        on_retry: called with the attempt's number, the wait in seconds and the error.

    Raises:
        ConfigError: if a number is out of range.
    """
    check_number("make_runtime", "max_in_flight", max_in_flight, minimum=1, integer=True)
    check_number("make_runtime", "attempts", attempts, minimum=1, integer=True, optional=True)
    store = open_store(cache)
    retry = RetryPolicy() if attempts is None else RetryPolicy(attempts=attempts)
    return Runtime(store=store, max_in_flight=max_in_flight, retry=retry, on_retry=on_retry)


def open_store(cache: Path | str | bool | None) -> ReplyStore | None:
    """Open the cache in a folder; True is the default folder, False or None no cache."""
    from lmpipe.lm.cache.cache import Cache, default_cache_folder

    if cache is None or cache is False:
        return None
    return Cache(default_cache_folder() if cache is True else Path(cache))
