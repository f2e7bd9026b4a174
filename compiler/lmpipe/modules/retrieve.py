"""`Retrieve`: a step of a program that searches for passages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lmpipe.errors import CallError
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.lm.code_fingerprint import code_fingerprint
from lmpipe.lm.concurrency import loop
from lmpipe.lm.events import RetrievalEnded, RetrievalStarted
from lmpipe.lm.lm import LM
from lmpipe.lm.observing import AnyObserved, listening, observed
from lmpipe.lm.scope import current_scope
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
from lmpipe.signatures.field_types.parts import numbered
from lmpipe.signatures.field_types.passage import Passage
from lmpipe.signatures.field_types.tools import Tool
from lmpipe.state.trace import SearchStep


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

    # A search is told and recorded as one; it is no program.
    _metered = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._metered = cls.forward is not Retrieve.forward

    def __repr__(self) -> str:
        return f"Retrieve({self.name}, k={self.k})"

    @property
    def embedders(self) -> tuple[LM | None, ...]:
        """The LMs that embed the query of each search; None is the configured embedder."""
        return embedders_of(self.retriever)

    @property
    def embeds(self) -> bool:
        return bool(self.embedders)

    def identity(self) -> dict[str, Any]:
        """Return what decides what it finds, as JSON; a compile is another one if it changes."""
        passages: Iterable[Passage] = getattr(self.retriever, "passages", ())
        return {
            "k": self.k,
            "retriever": code_fingerprint(self.retriever),
            "corpus": digest([passage.to_json() for passage in passages]),
        }

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

    def as_tool(
        self, *, name: str = "search", description: str = "Find passages about a query."
    ) -> Tool:
        """Make a tool of it for agents, which are shown the passages as text.

        `ReAct` counts the searches that it makes by the tool. A program that runs the tool itself
        holds this module as an attribute and sets `max_calls`, if the search embeds its query.

        Args:
            name: the name of the tool.
            description: what it finds, in words.
        """
        return Tool.of(self._found_text, name=name, description=description)

    async def _found_text(self, query: str) -> str:
        found = await self._acall(query)
        return numbered("".join(one.to_parts()) for one in found) or "Nothing was found."

    async def _await_search(self, search: _Search) -> Any:
        found: Any = self.retriever.search(search.queries, k=search.k)
        return await found

    @contextmanager
    def _search(self, queries: Sequence[str], k: int | None) -> Iterator[_Search]:
        """Begin a search, and record it when it ends: the one place where this happens."""
        search = _Search(_checked(self.name, queries), self.k if k is None else k)
        check_number("Retrieve", "k", search.k, minimum=1, integer=True)
        trace, started, error = current_scope().trace, time.perf_counter(), ""
        number, after = (0, 0) if trace is None else (trace.begin(), len(trace.steps))
        try:
            if listening:
                with self._observed(search) as call:
                    yield search
                    call.ends(passages=_as_json(search.found))
            else:
                yield search
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            raise
        finally:
            if trace is not None:
                step = SearchStep(
                    retriever=self.name,
                    queries=search.queries,
                    k=search.k,
                    passages=_as_json(search.found),
                    seconds=time.perf_counter() - started,
                    error=error,
                    after=after,
                    number=number,
                )
                trace.add_search(step)

    def _observed(self, search: _Search) -> AnyObserved:
        """Tell a search."""
        return observed(
            RetrievalStarted,
            RetrievalEnded,
            retriever=self.name,
            queries=search.queries,
            k=search.k,
        )

    def _count_calls(self, seen: set[int], *, embeddings: bool) -> int:
        return len(self.embedders) if embeddings else 0


@dataclass
class _Search:
    """A search that is running."""

    queries: tuple[str, ...]
    k: int
    found: list[list[Passage]] = field(default_factory=list)


def _as_json(found: Sequence[Sequence[Passage]]) -> tuple[tuple[dict[str, Any], ...], ...]:
    return tuple(tuple(one.to_json() for one in passages) for passages in found)


def _checked(name: str, queries: Any) -> tuple[str, ...]:
    if isinstance(queries, Sequence) and not isinstance(queries, str):
        if all(isinstance(query, str) for query in queries):
            return tuple(queries)
        queries = next(query for query in queries if not isinstance(query, str))
    raise CallError(f"{name}: a query is a text, got {repr_without_data(queries, 100)}")
