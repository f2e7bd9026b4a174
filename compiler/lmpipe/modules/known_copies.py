"""Copies of predictors that streams and listeners know by the paths of the originals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from lmpipe.lm.observing import copies_known
from lmpipe.lm.scope import current_scope, scope


@contextmanager
def known_copies(originals: Mapping[int, int]) -> Iterator[None]:
    """Give copies of predictors the paths of the originals in a block; both are given by `id`."""
    listener = current_scope().listener
    if listener is not None:
        paths = {item: listener.paths[of] for item, of in originals.items() if of in listener.paths}
        listener = replace(listener, paths={**listener.paths, **paths})
    with scope(listener=listener), copies_known(originals):
        yield
