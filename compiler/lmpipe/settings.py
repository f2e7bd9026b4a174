"""The defaults of LM calls: `configure` sets them for the process, `using` for a block."""

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
from lmpipe.foundation.checks import check_number
from lmpipe.lm.lm import LM, as_lm
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic import deadline as deadlines
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


def _keep(runtime: Runtime) -> Runtime:
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
    settings = _override.get() or _configured or _configure_defaults()
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


def configured_lm() -> LM:
    """Return the LM of the current settings, without making a runtime or a cache."""
    settings = _override.get() or _configured
    return settings.lm if settings else DEFAULT_LM


def configured_embedder() -> LM | None:
    """Return the embedder of the current settings, if any, without making a runtime or a cache."""
    settings = _override.get() or _configured
    return settings.embedder if settings else None


def _configure_defaults() -> Settings:
    global _configured  # noqa: PLW0603 - `configure` is the one explicit global
    with _lock:
        if _configured is None:
            _configured = Settings(DEFAULT_LM, _keep(make_runtime()))
    return _configured


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
    store = _open_store(cache)
    retry = RetryPolicy() if attempts is None else RetryPolicy(attempts=attempts)
    return Runtime(store=store, max_in_flight=max_in_flight, retry=retry, on_retry=on_retry)


def _open_store(cache: Path | str | bool | None) -> ReplyStore | None:
    """Open the cache in a folder; True is the default folder, False or None no cache."""
    from lmpipe.lm.cache.cache import Cache, default_cache_folder

    if cache is None or cache is False:
        return None
    return Cache(default_cache_folder() if cache is True else Path(cache))


def configure(
    *,
    lm: LM | str | None = None,
    cache: Path | str | bool | None = None,
    max_in_flight: int | None = None,
    runtime: Runtime | None = None,
    embedder: LM | str | None = None,
) -> None:
    """Set the defaults of this process; what is not given does not change.

    Inside a `using` block, this sets what holds after the block.

    Args:
        lm: the LM of predictors without their own, or its name; initially `LM("local")`.
        cache: the cache's folder, True for the default folder, False for no cache.
        max_in_flight: the maximum number of requests in flight to one server, 1 or more.
        runtime: a runtime, which replaces the two above.
        embedder: the embedding LM of programs whose demonstrations are chosen by embeddings, or
            its name.

    Raises:
        ConfigError: if `max_in_flight` is not a whole number of 1 or more, or an LM is neither an
            LM nor a name.
    """
    check_number(
        "configure", "max_in_flight", max_in_flight, minimum=1, integer=True, optional=True
    )
    global _configured  # noqa: PLW0603 - `configure` is the one explicit global
    settings = _configured
    if settings is None:
        unused = cache is not None or runtime is not None  # of the default cache
        settings = Settings(DEFAULT_LM, Runtime()) if unused else _configure_defaults()
    if lm is not None:
        settings = replace(settings, lm=as_lm(lm))
    if embedder is not None:
        settings = replace(settings, embedder=as_lm(embedder))
    if runtime is None and (cache is not None or max_in_flight is not None):
        runtime = settings.runtime
        if cache is not None:
            runtime = runtime.with_store(_open_store(cache))
        if max_in_flight is not None:
            runtime = runtime.with_limit(max_in_flight)
        _keep(runtime)
    if runtime is not None:
        settings = replace(settings, runtime=runtime)
    with _lock:
        _configured = settings


@contextmanager
def using(
    *,
    lm: LM | str | None = None,
    runtime: Runtime | None = None,
    deadline: float | None = None,
    embedder: LM | str | None = None,
) -> Iterator[Settings]:
    """Change the settings for calls inside a `with` block, in this thread or task only.

    Args:
        lm: the LM of predictors without their own, or its name.
        runtime: carries out the calls.
        deadline: the maximum time for all LM calls of the block, in seconds from now, above 0.
            Once it has passed, calls in flight and all later ones raise `DeadlineError`. The
            earliest of nested deadlines holds.
        embedder: the embedding LM of programs whose demonstrations are chosen by embeddings, or
            its name.

    Raises:
        ConfigError: if the deadline is not a number above 0, or an LM is neither an LM nor a name.
    """
    check_number("using", "deadline", deadline, above=0, optional=True)
    lm, embedder = as_lm(lm), as_lm(embedder) or configured_embedder()
    if lm is None or runtime is None:
        settings = current_settings()
        lm, runtime = lm or settings.lm, runtime or settings.runtime
    settings = Settings(lm, runtime, embedder)
    with contextlib.nullcontext() if deadline is None else deadlines.deadline(deadline):
        token = _override.set(settings)
        try:
            yield settings
        finally:
            _override.reset(token)
