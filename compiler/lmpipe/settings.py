"""Change the defaults of LM calls: `configure` for the process, `using` for a block.

`lm/current.py` holds them, so that an LM that is called directly finds them too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lmpipe.foundation.checks import check_number
from lmpipe.lm.current import (
    DEFAULT_LM,
    Settings,
    close_at_exit,
    configured_embedder,
    configured_lm,
    configured_settings,
    current_settings,
    intercepting,
    is_configured,
    make_runtime,
    open_store,
    overriding,
    set_configured,
)
from lmpipe.lm.lm import LM, as_lm
from lmpipe.lm.observing import Listener, listen_everywhere
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic import deadline as deadlines

__all__ = [
    "DEFAULT_LM",
    "Settings",
    "configure",
    "configured_embedder",
    "configured_lm",
    "current_settings",
    "intercepting",
    "make_runtime",
    "using",
]


def configure(
    *,
    lm: LM | str | None = None,
    cache: Path | str | bool | None = None,
    max_in_flight: int | None = None,
    runtime: Runtime | None = None,
    embedder: LM | str | None = None,
    history: int | None = None,
    listeners: Sequence[Listener] | None = None,
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
        history: how many of the last LM calls `inspect_history` knows, those of `evaluate` and
            `compile` among them; 0 for none. Initially it knows 10, without those of `evaluate`
            and `compile`.
        listeners: told about all calls of the process, in place of those of an earlier
            `configure`; `observing` says of what, and adds one for a block.

    Raises:
        ConfigError: if a number is out of range, an LM is neither an LM nor a name, or a listener
            is not callable.
    """
    if listeners is not None:
        listen_everywhere(listeners)
        if all(given is None for given in (lm, cache, max_in_flight, runtime, embedder, history)):
            return  # the default cache need not be opened for it
    for name, number, least in (("max_in_flight", max_in_flight, 1), ("history", history, 0)):
        check_number("configure", name, number, minimum=least, integer=True, optional=True)
    if is_configured() or (cache is None and runtime is None):
        settings = configured_settings()
    else:  # the default cache would not be used
        settings = Settings(DEFAULT_LM, Runtime())
    if lm is not None:
        settings = replace(settings, lm=as_lm(lm))
    if embedder is not None:
        settings = replace(settings, embedder=as_lm(embedder))
    if runtime is None and (cache is not None or max_in_flight is not None):
        runtime = settings.runtime
        if cache is not None:
            runtime = runtime.with_store(open_store(cache))
        if max_in_flight is not None:
            runtime = runtime.with_limit(max_in_flight)
        close_at_exit(runtime)
    if runtime is not None:
        settings = replace(settings, runtime=runtime)
    if history is not None:
        settings.runtime.history.keep(history)
    set_configured(settings)


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
    limit = contextlib.nullcontext() if deadline is None else deadlines.deadline(deadline)
    with limit, overriding(settings):
        yield settings
