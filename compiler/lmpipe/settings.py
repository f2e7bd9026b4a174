"""What calls use when nothing else is said: the configured LM and runtime."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

from lmpipe.errors import LMError
from lmpipe.lm.lm import LM
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic import deadline as deadlines
from lmpipe.lm.traffic.retry import RetryPolicy


@dataclass(frozen=True)
class Settings:
    """The defaults of LM calls.

    Args:
        lm: the LM of predictors that name none.
        runtime: the road that calls take.
        embedder: the embedding LM of programs whose demonstrations are chosen by embeddings.
    """

    lm: LM
    runtime: Runtime
    embedder: LM | None = None


_lock = threading.Lock()
_configured: Settings | None = None
_override: ContextVar[Settings | None] = ContextVar("lmpipe_settings", default=None)


# Runtimes that nobody but this module can close.
_made: list[Runtime] = []
_process = os.getpid()

# Shown every runtime before it is used, while a test has a cassette.
_intercept: Callable[[Runtime], None] | None = None


def _keep(runtime: Runtime) -> Runtime:
    if not _made:
        atexit.register(_close_made)
    _made.append(runtime)
    return runtime


def _close_made() -> None:
    if os.getpid() == _process:  # the connections of a forked child are its parent's
        for runtime in _made:
            # From Python 3.12 on no thread can be started here, as the embedded engine does to
            # close: it has a finalizer of its own.
            with contextlib.suppress(RuntimeError):
                runtime.close()


def current_settings() -> Settings:
    """The settings in force here: of `using`, else of `configure`, else the defaults."""
    settings = _override.get() or _configured or _configure_defaults()
    if _intercept is not None:
        _intercept(settings.runtime)
    return settings


@contextmanager
def intercepting(intercept: Callable[[Runtime], None]) -> Iterator[None]:
    """See every runtime before it is used for a call, in all threads and tasks of the process.

    Unlike `using`, this holds whatever the code inside configures, and wherever it runs. Of
    nested ones the inner holds.

    Args:
        intercept: called with the runtime, often more than once.
    """
    global _intercept  # noqa: PLW0603 - a test's hold on the road is on the whole process
    before = _intercept
    _intercept = intercept
    try:
        yield
    finally:
        _intercept = before


def configured_lm() -> LM:
    """The LM of the settings in force here; looking makes no cache."""
    settings = _override.get() or _configured
    return settings.lm if settings else LM("local")


def configured_embedder() -> LM | None:
    """The embedder of the settings in force here, if any; looking makes no cache."""
    settings = _override.get() or _configured
    return settings.embedder if settings else None


def _configure_defaults() -> Settings:
    global _configured  # noqa: PLW0603 - `configure` is the one explicit global
    with _lock:
        if _configured is None:
            _configured = Settings(LM("local"), _keep(make_runtime()))
    return _configured


def make_runtime(
    *,
    cache: Path | str | bool | None = True,
    max_in_flight: int = 64,
    attempts: int | None = None,
    give_up_after: float | None = None,
    on_retry: Callable[[int, float, LMError], None] | None = None,
) -> Runtime:
    """Make a runtime with a disk cache.

    Args:
        cache: a folder; True for the default one (`$LMPIPE_CACHE`, or in the user's cache
            folder); False or None for none.
        max_in_flight: requests in flight to one server at a time.
        attempts: how often an unavailable server is asked before it counts as away.
        give_up_after: the longest that it is asked in all, in seconds; no bound by default.
        on_retry: called with the attempt's number, the wait in seconds and the error.
    """
    from lmpipe.lm.cache.cache import Cache, default_cache_folder

    store = None
    if cache is not None and cache is not False:
        store = Cache(default_cache_folder() if cache is True else Path(cache))
    retry = RetryPolicy(give_up_after=give_up_after)
    retry = retry if attempts is None else replace(retry, attempts=attempts)
    return Runtime(store=store, max_in_flight=max_in_flight, retry=retry, on_retry=on_retry)


def configure(
    *,
    lm: LM | str | None = None,
    cache: Path | str | bool | None = None,
    max_in_flight: int | None = None,
    runtime: Runtime | None = None,
    embedder: LM | str | None = None,
) -> None:
    """Set the defaults of this process; what is not given stays as it is.

    Args:
        lm: the LM of predictors that name none; at first `LM("local")`.
        cache: the cache's folder, True for the default one, False for none.
        max_in_flight: requests in flight to one server at a time.
        runtime: a whole runtime, in place of the two above.
        embedder: the embedding LM of programs whose demonstrations are chosen by embeddings.
    """
    global _configured  # noqa: PLW0603 - `configure` is the one explicit global
    settings = current_settings() if cache is None else _configured
    settings = settings or Settings(LM("local"), Runtime())
    if lm is not None:
        settings = replace(settings, lm=LM(lm) if isinstance(lm, str) else lm)
    if embedder is not None:
        embedder = LM(embedder) if isinstance(embedder, str) else embedder
        settings = replace(settings, embedder=embedder)
    if runtime is None and cache is not None:
        runtime = _keep(make_runtime(cache=cache, max_in_flight=max_in_flight or 64))
    elif runtime is None and max_in_flight is not None:
        runtime = _keep(settings.runtime.with_limit(max_in_flight))
    if runtime is not None:
        settings = replace(settings, runtime=runtime)
    with _lock:
        _configured = settings


@contextmanager
def using(
    *,
    lm: LM | None = None,
    runtime: Runtime | None = None,
    deadline: float | None = None,
    embedder: LM | None = None,
) -> Iterator[Settings]:
    """Other settings for the calls made inside a `with` block, in this thread or task alone.

    Args:
        lm: the LM of predictors that name none.
        runtime: the road that calls take.
        deadline: the time that all LM calls of the block together may take, in seconds from now.
            Once it has passed, those under way and all later ones raise `DeadlineError`. Of
            nested deadlines the earlier one holds.
        embedder: the embedding LM of programs whose demonstrations are chosen by embeddings.

    Raises:
        ConfigError: if the deadline is not above 0.
    """
    embedder = embedder or configured_embedder()
    if lm is None or runtime is None:
        settings = current_settings()
        settings = Settings(lm or settings.lm, runtime or settings.runtime, embedder)
    else:
        settings = Settings(lm, runtime, embedder)
    with contextlib.nullcontext() if deadline is None else deadlines.deadline(deadline):
        token = _override.set(settings)
        try:
            yield settings
        finally:
            _override.reset(token)
