"""`FaissIndex`: search an index of the package `faiss`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM
from lmpipe.retrieval.corpus import Corpus, read_corpus
from lmpipe.retrieval.vector_retriever import VectorRetriever
from lmpipe.signatures.field_types.passage import Passage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_INNER_PRODUCT = 0  # faiss.METRIC_INNER_PRODUCT; of other metrics, less is nearer


@dataclass(frozen=True, kw_only=True, eq=False)
class FaissIndex(VectorRetriever):
    """Searches an index of the package `faiss`, which has vectors only; made by `from_index`."""

    index: Any = field(repr=False)
    passages: tuple[Passage, ...] = field(repr=False)

    @staticmethod
    def from_index(
        index: Any,
        corpus: Corpus,
        *,
        embedder: LM | str | None = None,
        model: str | None = None,
        query_prefix: str = "",
    ) -> FaissIndex:
        """Use an index, whose vector number n is that of passage number n of the corpus.

        Queries have vectors of unit length. For cosines, add vectors of unit length to an index of
        inner products.

        Args:
            index: an index of faiss, such as `faiss.read_index(path)`.
            corpus: the passages.
            embedder: the LM that embeds queries, or its name; by default the configured embedder.
            model: the model that embedded the corpus; no other one may then embed queries.
            query_prefix: what the model wants before a query, such as `"query: "`.

        Raises:
            DataError: if the corpus is empty, an item is not a passage, or an id occurs twice.
            ConfigError: if the index does not have a vector for each passage.
        """
        passages = read_corpus(corpus)
        if index.ntotal != len(passages):
            raise ConfigError(
                f"FaissIndex: the index has {index.ntotal} vectors, but the corpus "
                f"{len(passages)} passages; give the passages that it was built from, in order"
            )
        return FaissIndex(
            index=index,
            passages=passages,
            embedder=embedder,
            model=model,
            query_prefix=query_prefix,
        )

    def _nearest(self, vectors: npt.NDArray[np.float16], k: int) -> list[list[Passage]]:
        self._check_dimension(vectors, self.index.d)
        scores, places = self.index.search(vectors.astype("float32"), k)
        sign = 1.0 if self.index.metric_type == _INNER_PRODUCT else -1.0
        return [
            [
                replace(self.passages[place], score=sign * score)
                for place, score in zip(row.tolist(), values.tolist(), strict=True)
                if place >= 0  # where there are fewer than k
            ]
            for row, values in zip(places, scores, strict=True)
        ]
