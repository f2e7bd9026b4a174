"""`Retrieve`: a step of a program that searches for passages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lmpipe.errors import CallError
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.concurrency import loop
from lmpipe.modules.module import Leaf
from lmpipe.retrieval.retriever import (
    Retriever,
    SearchFunction,
    as_retriever,
    checked,
    embedders_of,
    name_of,
    searches_async,
)
from lmpipe.signatures.field_types.passage import Passage


class Retrieve(Leaf):
    """Search for passages: `retrieve("who built it?")`, `await retrieve.acall("…")`.

    A search is a step of the trace. It asks no LM; one that embeds the query makes one request to
    an embedder, which plans and budgets count.

    Args:
        retriever: what searches: a `BM25`, an `Embeddings`, an adapter of an index, an object with
            a method `search(queries, *, k)`, or a function of `(query, k)`; either may be async.
        k: the maximum number of passages to find, 1 or more.
        name: its name in traces; by default that of the retriever's class or function.

    Raises:
        ConfigError: if it is not a retriever, or `k` is out of range.
    """

    def __init__(
        self, retriever: Retriever | SearchFunction, *, k: int = 3, name: str = ""
    ) -> None:
        check_number("Retrieve", "k", k, minimum=1, integer=True)
        self.retriever = as_retriever(retriever)
        self.k = k
        self.name = name or name_of(self.retriever)

    def __repr__(self) -> str:
        return f"Retrieve({self.name}, k={self.k})"

    @property
    def embeds(self) -> bool:
        return bool(embedders_of(self.retriever))

    def forward(self, query: str, *, k: int | None = None) -> list[Passage]:
        """Find the passages for a query, best first; `k` replaces the maximum number of them.

        Raises:
            CallError: if the query is not a text, or the retriever finds something else than
                passages.
            ConfigError: if `k` is out of range, or there is no embedder for the query.
            LMError: if the embedder cannot be reached.
        """
        return self.many([query], k=k)[0]

    async def _acall(self, query: str, *, k: int | None = None) -> list[Passage]:
        return (await self.amany([query], k=k))[0]

    def many(self, queries: Sequence[str], *, k: int | None = None) -> list[list[Passage]]:
        """Find the passages for each of several queries, as one search; see `forward`."""
        with self._search(queries, k) as search:
            if searches_async(self.retriever):
                found = loop.run_sync(self._await_search(search))
            else:
                found = self.retriever.search(search.queries, k=search.k)
            search.found = checked(self.retriever, found, search.queries, search.k)
        return search.found

    async def amany(self, queries: Sequence[str], *, k: int | None = None) -> list[list[Passage]]:
        """`many` from a coroutine; a sync search runs in a thread."""
        with self._search(queries, k) as search:
            if searches_async(self.retriever):
                found = await self._await_search(search)
            else:
                find = self.retriever.search
                found = await loop.in_thread(find, search.queries, k=search.k)
            search.found = checked(self.retriever, found, search.queries, search.k)
        return search.found

    async def _await_search(self, search: _Search) -> Any:
        found: Any = self.retriever.search(search.queries, k=search.k)
        return await found

    @contextmanager
    def _search(self, queries: Sequence[str], k: int | None) -> Iterator[_Search]:
        """Begin a search, and record it when it ends: the one place where this happens."""
        search = _Search(_checked(self.name, queries), self.k if k is None else k)
        check_number("Retrieve", "k", search.k, minimum=1, integer=True)
        started = time.perf_counter()
        yield search
        search.seconds = time.perf_counter() - started

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        return len(embedders_of(self.retriever)) if embeddings else 0


@dataclass
class _Search:
    """A search that is running."""

    queries: tuple[str, ...]
    k: int
    found: list[list[Passage]] = field(default_factory=list)
    seconds: float = 0.0


def _checked(name: str, queries: Any) -> tuple[str, ...]:
    if isinstance(queries, Sequence) and not isinstance(queries, str):
        if all(isinstance(query, str) for query in queries):
            return tuple(queries)
        queries = next(query for query in queries if not isinstance(query, str))
    raise CallError(f"{name}: a query is a text, got {repr_without_data(queries, 100)}")
