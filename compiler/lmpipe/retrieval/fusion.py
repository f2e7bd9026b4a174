"""`Fusion`: the results of several retrievers as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.foundation.checks import check_number
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM
from lmpipe.retrieval.retriever import (
    Retriever,
    SearchFunction,
    as_retriever,
    checked,
    embedders_of,
    searches_async,
)
from lmpipe.signatures.field_types.passage import Passage

# How many times k each retriever is asked for: what all of them rank well may be first in none.
_DEEPER = 3


@dataclass(frozen=True, init=False)
class Fusion:
    """Joins what several retrievers find, such as one by words and one by embeddings.

    A passage scores the sum of 1 / (smoothing + rank) over the retrievers that found it. Passages
    are the same if they have the same id, or without one the same text. Source: reciprocal rank
    fusion, Cormack, Clarke and Büttcher (SIGIR 2009).

    Args:
        retrievers: two or more retrievers; they search at the same time.
        smoothing: how little the first ranks count more than the next ones, above 0.

    Raises:
        ConfigError: if there are fewer than two retrievers, or one of them is none.
    """

    retrievers: tuple[Retriever, ...]
    smoothing: float

    def __init__(
        self, retrievers: Iterable[Retriever | SearchFunction], *, smoothing: float = 60.0
    ) -> None:
        check_number("Fusion", "smoothing", smoothing, above=0)
        object.__setattr__(self, "retrievers", tuple(map(as_retriever, retrievers)))
        object.__setattr__(self, "smoothing", smoothing)
        if len(self.retrievers) < 2:
            raise ConfigError(f"Fusion joins two or more retrievers, got {len(self.retrievers)}")

    @property
    def embedders(self) -> tuple[LM | None, ...]:
        """The LMs that one search asks."""
        return tuple(lm for retriever in self.retrievers for lm in embedders_of(retriever))

    async def search(self, queries: Sequence[str], /, *, k: int) -> list[list[Passage]]:
        """Find the at most `k` best passages for each query, best first."""

        async def find(retriever: Retriever) -> list[list[Passage]]:
            found: Any
            if searches_async(retriever):
                found = retriever.search(queries, k=_DEEPER * k)
                return checked(retriever, await found, queries, _DEEPER * k)
            found = await loop.in_thread(retriever.search, queries, k=_DEEPER * k)
            return checked(retriever, found, queries, _DEEPER * k)

        rankings = await asyncio.gather(*map(find, self.retrievers))
        return [self._join(of_one)[:k] for of_one in zip(*rankings, strict=True)]

    def _join(self, rankings: Iterable[Sequence[Passage]]) -> list[Passage]:
        passages: dict[str, Passage] = {}
        scores: dict[str, float] = {}
        for ranking in rankings:
            for rank, passage in enumerate(ranking, start=1):
                name = passage.id or passage.text
                passages.setdefault(name, passage)
                scores[name] = scores.get(name, 0.0) + 1 / (self.smoothing + rank)
        ordered = sorted(scores, key=lambda name: -scores[name])
        return [replace(passages[name], score=scores[name]) for name in ordered]
