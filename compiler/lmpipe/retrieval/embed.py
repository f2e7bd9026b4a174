"""Embed texts by an LM: through the runtime, so that each text is cached, recorded and counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lmpipe.errors import ConfigError, LMRequestError
from lmpipe.foundation.vectors import dimension_of, join_vectors
from lmpipe.lm.concurrency.in_order import run_in_order
from lmpipe.lm.lm import LM
from lmpipe.lm.request import embedding_request
from lmpipe.lm.scope import check_calls, current_scope
from lmpipe.retrieval.vector_index import halves_of
from lmpipe.settings import configured_embedder, current_settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# How many texts one request has, and how many requests are in flight.
_TEXTS, _IN_FLIGHT = 64, 8


def embedder_or_configured(embedder: LM | None, who: str) -> LM:
    """Return an LM for embeddings, by default the configured one.

    Raises:
        ConfigError: if there is none.
    """
    found = embedder or configured_embedder()
    if found is None:
        raise ConfigError(
            f"{who} needs an embedding LM: give embedder=lmpipe.LM(…), or call "
            "lmpipe.configure(embedder=…)"
        )
    return found


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model, which may be reached through two providers."""
    return _model(one) == _model(other)


def _model(name: str) -> str:
    """The model's name without its provider."""
    return name.partition("/")[2] or name


async def embed_query(lm: LM, texts: Sequence[str], *, who: str) -> npt.NDArray[np.float16]:
    """Embed queries by one request; return their vectors as rows.

    It counts as a call of the run around. `who` asks: the name of a retriever.
    """
    check_calls(current_scope(), who)
    requests = [embedding_request(lm, text) for text in texts]
    replies = await current_settings().runtime.aembed(requests, label=who)
    return _rows(lm, [reply.text for reply in replies])


async def embed_corpus(lm: LM, texts: Sequence[str], *, who: str) -> npt.NDArray[np.float16]:
    """Embed the texts of a corpus by as many requests as it takes."""
    batches = [texts[first : first + _TEXTS] for first in range(0, len(texts), _TEXTS)]

    async def embed(batch: Sequence[str]) -> list[str]:
        requests = [embedding_request(lm, text) for text in batch]
        replies = await current_settings().runtime.aembed(requests, label=who)
        return [reply.text for reply in replies]

    embedded = await run_in_order(batches, _IN_FLIGHT, run=embed)
    return _rows(lm, [vector for batch in embedded for vector in batch])


def _rows(lm: LM, vectors: Sequence[str]) -> npt.NDArray[np.float16]:
    dimensions = sorted(_dimensions(lm, vectors))
    if len(dimensions) != 1:
        raise LMRequestError(
            f"{lm.model} gives vectors of different lengths, {dimensions[0]} and "
            f"{dimensions[-1]} numbers: use an embedding model whose vectors can be compared"
        )
    return halves_of(join_vectors(vectors)).reshape(len(vectors), dimensions[0])


def _dimensions(lm: LM, vectors: Iterable[str]) -> set[int]:
    try:
        return {dimension_of(vector) for vector in vectors}
    except ValueError as error:
        raise ConfigError(f"{lm.model} did not return a vector: {error}") from error
