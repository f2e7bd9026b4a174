"""`VectorRetriever`: what retrievers share that compare the embedding of a query with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmpipe.errors import ConfigError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM, as_lm
from lmpipe.retrieval.embed import embed_query, embedder_or_configured, same_model
from lmpipe.signatures.field_types.passage import Passage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorRetriever:
    """Embeds queries, and leaves it to a subclass to find the passages with near vectors.

    Args:
        embedder: the LM that embeds queries, or its name; None is the configured embedder.
        model: the model that embedded the corpus, if known; no other one may embed queries.
        query_prefix: what the model wants before a query, such as `"query: "`.
    """

    embedder: LM | str | None = None
    model: str | None = field(default=None, repr=False)
    query_prefix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "embedder", as_lm(self.embedder))

    @property
    def embedders(self) -> tuple[LM | None, ...]:
        """The LMs that one search asks."""
        return (as_lm(self.embedder),)

    async def search(self, queries: Sequence[str], /, *, k: int) -> list[list[Passage]]:
        """Find the at most `k` nearest passages for each query, nearest first.

        Raises:
            ConfigError: if no embedder is configured, or another model than the corpus's.
            LMError: if the embedder cannot be reached.
        """
        if not queries:
            return []
        who = type(self).__name__
        lm = embedder_or_configured(as_lm(self.embedder), who)
        if self.model is not None and not same_model(lm.model, self.model):
            raise ConfigError(
                f"{who}: the corpus was embedded by {self.model}, but {lm.model} would embed the "
                f"queries: give embedder=lmpipe.LM({self.model!r}, …), or embed the corpus again"
            )
        texts = [self.query_prefix + query for query in queries]
        vectors = await embed_query(lm, texts, who=who)
        return await loop.in_thread(self._nearest, vectors, k)

    def _nearest(self, vectors: npt.NDArray[np.float16], k: int) -> list[list[Passage]]:
        """Find the passages that are nearest to each of some vectors of unit length."""
        raise NotImplementedError

    def _check_dimension(self, vectors: npt.NDArray[np.float16], dimension: int) -> None:
        if vectors.shape[1] != dimension:
            raise ConfigError(
                f"{type(self).__name__}: the queries have vectors of {vectors.shape[1]} numbers, "
                f"but the passages of {dimension}: give the embedder the parameters that the "
                "corpus was embedded with"
            )
