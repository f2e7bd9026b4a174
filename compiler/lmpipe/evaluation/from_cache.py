"""Rows whose LM calls are all in the cache: scored again for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmpipe.data.example import Example
from lmpipe.errors import CassetteMissError
from lmpipe.evaluation.evaluate import RunOptions, run_pairs
from lmpipe.evaluation.results import Row
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import AnyMetric
from lmpipe.modules.module import Module
from lmpipe.settings import current_settings, using


class _OnlyStored:
    """A store that has no call made: what it does not have is an error, and is counted."""

    def __init__(self, store: ReplyStore | None) -> None:
        self._store = store
        self.misses = 0

    def get(self, key: str, request: Request) -> Reply | None:
        reply = self._store.get(key, request) if self._store is not None else None
        if reply is None:
            self.misses += 1
            raise CassetteMissError(
                f"the reply to a call of {request.lm.model} is not in the cache"
            )
        return reply

    def put(self, key: str, request: Request, reply: Reply) -> None:
        """Nothing new can come."""

    def close(self) -> None:
        """Whoever opened the store closes it."""


async def rows_from_cache(
    program: Module, examples: Sequence[Example], metric: AnyMetric, options: RunOptions
) -> Mapping[int, Row]:
    """Score the examples for which every LM call is in the cache, without calling an LM.

    The rows are by position of their example. `options` are those of each run; a run of a program
    that goes on without a reply that is missing is left out too.
    """
    settings = current_settings()
    store = _OnlyStored(settings.runtime.store)
    found: dict[int, Row] = {}
    with using(runtime=Runtime(store=store, servers=settings.runtime.servers)):
        for index, example in enumerate(examples):
            misses = store.misses
            try:
                evaluation = await run_pairs([(program, example)], metric, options)
            except CassetteMissError:
                continue
            if store.misses == misses:
                found[index] = evaluation.rows[0]
    return found
