"""`Retriever`: the protocol of what finds passages, and functions that are used as one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from lmpipe.errors import CallError, ConfigError
from lmpipe.foundation.async_functions import is_async
from lmpipe.foundation.shorten import repr_without_data, short_repr
from lmpipe.lm.lm import LM
from lmpipe.retrieval.corpus import AnyPassage, passage_of
from lmpipe.signatures.field_types.passage import Passage

# The passages of each query.
Found: TypeAlias = Sequence[Sequence[Passage]]

# A search for one query that finds at most k passages.
SearchFunction: TypeAlias = Callable[
    [str, int], Iterable[AnyPassage] | Awaitable[Iterable[AnyPassage]]
]


@runtime_checkable
class Retriever(Protocol):
    """Finds passages. `search` may be sync or async, and runs in several threads at once."""

    def search(self, queries: Sequence[str], /, *, k: int) -> Found | Awaitable[Found]:
        """Find the at most `k` best passages for each query, best first."""
        ...


@dataclass(frozen=True)
class FunctionRetriever:
    """A function `(query, k)` as a retriever; it may be sync or async.

    Args:
        function: returns passages, documents, texts, or mappings with the fields of `Passage`.
    """

    function: SearchFunction

    def search(self, queries: Sequence[str], /, *, k: int) -> Any:
        """Call the function for each query; an async one for all of them at once."""
        if is_async(self.function):
            return self._asearch(queries, k)
        return [_passages(self.function, self.function(query, k)) for query in queries]

    async def _asearch(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        results: list[Any] = [self.function(query, k) for query in queries]
        return [_passages(self.function, found) for found in await asyncio.gather(*results)]


def as_retriever(given: Retriever | SearchFunction) -> Retriever:
    """Return a retriever, which may be given as a function.

    Raises:
        ConfigError: if it is neither.
    """
    if isinstance(given, type):
        raise ConfigError(f"the retriever is the class {given.__name__}: give an instance")
    if isinstance(given, Retriever):
        return given
    if callable(given):
        return FunctionRetriever(given)
    raise ConfigError(
        f"not a retriever: {short_repr(given, 100)}; give one such as lmpipe.BM25(passages), an "
        "object with a method search(queries, *, k), or a function of (query, k)"
    )


def searches_async(retriever: Retriever) -> bool:
    """Whether the search of a retriever is awaited."""
    if isinstance(retriever, FunctionRetriever):
        return is_async(retriever.function)
    return inspect.iscoroutinefunction(retriever.search)


def embedders_of(retriever: Retriever) -> tuple[LM | None, ...]:
    """Return the LMs that embed the queries of each search; None is the configured embedder.

    A retriever of one's own that asks an embedder has them as its attribute `embedders`.
    """
    return tuple(getattr(retriever, "embedders", ()))


def checked(
    retriever: Retriever, found: Any, queries: Sequence[str], k: int
) -> list[list[Passage]]:
    """Check what a retriever found: at most k passages for each query.

    Raises:
        CallError: if it is anything else.
    """
    name = name_of(retriever)
    if not isinstance(found, Sequence) or isinstance(found, str) or len(found) != len(queries):
        raise CallError(
            f"{name}: search gave {repr_without_data(found, 100)} for {len(queries)} queries; "
            "return a list with the passages of each query"
        )
    lists = [list(passages) for passages in found]
    for passage in (one for passages in lists for one in passages):
        if not isinstance(passage, Passage):
            raise CallError(
                f"{name}: search found {repr_without_data(passage, 100)}; give lmpipe.Passage(…)"
            )
    return [passages[:k] for passages in lists]


def name_of(retriever: Retriever) -> str:
    """Return the name of a retriever for messages and traces."""
    named = retriever.function if isinstance(retriever, FunctionRetriever) else retriever
    return str(getattr(named, "__name__", type(named).__name__))


def _passages(function: SearchFunction, found: Any) -> list[Passage]:
    if isinstance(found, str) or not isinstance(found, Iterable):
        name = getattr(function, "__name__", type(function).__name__)
        raise CallError(
            f"{name}: it returned {repr_without_data(found, 100)}; return a list of passages"
        )
    return [passage_of(item) for item in found]
