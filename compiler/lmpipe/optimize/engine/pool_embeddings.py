"""Embed pools of demonstrations, for predictors that select them by embeddings, and other texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

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

# Returns the vectors of the pool of the predictor with a path; its demonstrations are embedded.
PoolVectors: TypeAlias = Callable[[str, Sequence[Demo]], Vectors]


class PoolEmbedder:
    """Embeds texts within the budget, each of them once; without an LM, it embeds nothing."""

    def __init__(self, lm: LM | None, ledger: Ledger, *, concurrency: int) -> None:
        self._lm = lm
        self._ledger = ledger
        self._limit = asyncio.Semaphore(concurrency)
        self._known: dict[str, str] = {}

    async def embed(
        self, predictors: Mapping[str, Predictor], pools: Mapping[str, Sequence[Demo]]
    ) -> PoolVectors | None:
        """Embed demonstrations, given by predictor path; the result is None without an embedder."""
        if (lm := self._lm) is None:
            return None
        specs = {path: predictor.spec for path, predictor in predictors.items()}
        pooled = (demo_text(specs[path], demo) for path, pool in pools.items() for demo in pool)
        await self._embed_all(lm, pooled)

        def vectors(path: str, pool: Sequence[Demo]) -> Vectors:
            found = [self._known[demo_text(specs[path], demo)] for demo in pool]
            dimension = dimension_of(found[0])
            return Vectors(embedder=lm.model, dimension=dimension, data=join_vectors(found))

        return vectors

    async def embed_texts(self, texts: Iterable[str]) -> Mapping[str, str] | None:
        """Embed texts; the result has their encoded vectors, or is None without an embedder."""
        if self._lm is None:
            return None
        asked = tuple(texts)
        await self._embed_all(self._lm, asked)
        return {text: self._known[text] for text in asked}

    async def _embed_all(self, lm: LM, asked: Iterable[str]) -> None:
        texts = [text for text in dict.fromkeys(asked) if text not in self._known]
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
