"""Embed pools of demonstrations, for predictors that select demonstrations by embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmpipe.errors import LMRequestError
from lmpipe.foundation.vectors import dimension_of, join_vectors
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.request import embedding_request
from lmpipe.lm.scope import scope
from lmpipe.modules.module import Predictor
from lmpipe.modules.retrieval import demo_text
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.worst_case import TEXTS_PER_REQUEST, worst_embedding
from lmpipe.settings import current_settings
from lmpipe.state.program_state import Demo, Vectors


@dataclass(frozen=True)
class PoolEmbeddings:
    """The vectors of embedded demonstrations: `known` has them by text."""

    embedder: str
    predictors: Mapping[str, Predictor]
    known: Mapping[str, str]

    def vectors(self, path: str, pool: Sequence[Demo]) -> Vectors:
        """Return the vectors of a predictor's pool; every demonstration must be embedded."""
        spec = self.predictors[path].spec
        found = [self.known[demo_text(spec, demo)] for demo in pool]
        dimension = dimension_of(found[0])
        return Vectors(embedder=self.embedder, dimension=dimension, data=join_vectors(found))


class PoolEmbedder:
    """Embeds pools within the budget, each text once; without an LM, it embeds nothing."""

    def __init__(self, lm: LM | None, ledger: Ledger, *, concurrency: int) -> None:
        self._lm = lm
        self._ledger = ledger
        self._limit = asyncio.Semaphore(concurrency)
        self._known: dict[str, str] = {}

    async def embed(
        self, predictors: Mapping[str, Predictor], pools: Mapping[str, Sequence[Demo]]
    ) -> PoolEmbeddings | None:
        """Embed demonstrations, given by predictor path; the result is None without an embedder."""
        if self._lm is None:
            return None
        texts = {
            demo_text(predictors[path].spec, demo): None
            for path, pool in pools.items()
            for demo in pool
        }
        await self._embed_texts(self._lm, [text for text in texts if text not in self._known])
        return PoolEmbeddings(self._lm.model, predictors, dict(self._known))

    async def _embed_texts(self, lm: LM, texts: Sequence[str]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for first in range(0, len(texts), TEXTS_PER_REQUEST):
                    batch = texts[first : first + TEXTS_PER_REQUEST]
                    # Admitted in order, so that concurrency does not change where a budget ends.
                    await self._limit.acquire()
                    await self._ledger.admit(worst_embedding(batch, lm))
                    group.create_task(self._embed_batch(lm, batch))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        dimensions = sorted(set(map(dimension_of, self._known.values())))
        if len(dimensions) > 1:
            raise LMRequestError(
                f"{lm.model} gives vectors of different lengths, {dimensions[0]} and "
                f"{dimensions[-1]} numbers: use an embedding model whose vectors can be compared"
            )

    async def _embed_batch(self, lm: LM, texts: Sequence[str]) -> None:
        calls: list[Call] = []
        try:
            with scope(trace=None, calls=calls, max_calls=None):
                replies = await current_settings().runtime.aembed(
                    [embedding_request(lm, text) for text in texts], label="pool"
                )
            vectors = (reply.text for reply in replies)
            self._known.update(zip(texts, vectors, strict=True))
        finally:
            self._limit.release()
            self._ledger.settle(worst_embedding(texts, lm), calls)
