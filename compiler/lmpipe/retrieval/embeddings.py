"""`Embeddings`: find passages by the cosine of their embeddings with a query's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmpipe.errors import ArtifactError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM, as_lm
from lmpipe.retrieval.bm25 import searched_text
from lmpipe.retrieval.corpus import Corpus, read_corpus
from lmpipe.retrieval.embed import embed_corpus, embedder_or_configured
from lmpipe.retrieval.index_folder import load_index, save_index
from lmpipe.retrieval.vector_index import VectorIndex
from lmpipe.retrieval.vector_retriever import VectorRetriever
from lmpipe.signatures.field_types.passage import Passage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_KIND = "embeddings"


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings(VectorRetriever):
    """Finds passages by the cosine of their embeddings with a query's; made by `of` or `load`.

    The passages are compared one by one, which takes milliseconds for 100,000 of them.
    """

    passages: tuple[Passage, ...] = field(repr=False)
    vectors: VectorIndex = field(repr=False)

    @staticmethod
    def of(
        corpus: Corpus,
        *,
        embedder: LM | str | None = None,
        passage_prefix: str = "",
        query_prefix: str = "",
    ) -> Embeddings:
        """Embed a corpus. Vectors come from the cache if their texts were embedded before.

        Args:
            corpus: passages, documents, texts or mappings, or the path of a JSONL file of
                mappings.
            embedder: the LM that embeds, or its name; by default the configured embedder.
            passage_prefix: what the model wants before a passage, such as `"passage: "`.
            query_prefix: what it wants before a query, such as `"query: "`.

        Raises:
            DataError: if the corpus is empty, an item is not a passage, or an id occurs twice.
            ConfigError: if there is no embedder.
            LMError: if it cannot be reached.
        """
        made = Embeddings.aof(
            corpus, embedder=embedder, passage_prefix=passage_prefix, query_prefix=query_prefix
        )
        return loop.run_sync(made)

    @staticmethod
    async def aof(
        corpus: Corpus,
        *,
        embedder: LM | str | None = None,
        passage_prefix: str = "",
        query_prefix: str = "",
    ) -> Embeddings:
        """`of` from a coroutine."""
        passages = read_corpus(corpus)
        lm = embedder_or_configured(as_lm(embedder), "Embeddings")
        texts = [passage_prefix + searched_text(passage) for passage in passages]
        rows = await embed_corpus(lm, texts, who="Embeddings")
        return Embeddings(
            passages=passages,
            vectors=VectorIndex(rows),
            embedder=lm,
            model=lm.model,
            query_prefix=query_prefix,
        )

    def save(self, folder: str | Path) -> None:
        """Write the passages and their vectors to a folder, as JSON and an array.

        Raises:
            StorageError: if it cannot be written.
        """
        settings = {"model": self.model, "query_prefix": self.query_prefix}
        save_index(Path(folder), _KIND, settings, self.passages, {"vectors": self.vectors.rows})

    @staticmethod
    def load(folder: str | Path, *, embedder: LM | str | None = None) -> Embeddings:
        """Read what `save` wrote; nothing in the folder is executed, and no LM is asked.

        Args:
            folder: the folder.
            embedder: the LM that embeds queries, or its name; by default the embedder that is
                configured when a search runs.

        Raises:
            ArtifactError: if the folder is damaged.
        """
        settings, passages, arrays = load_index(Path(folder), _KIND, ["vectors"])
        rows = arrays["vectors"]
        if rows.dtype != "<f2" or rows.ndim != 2 or len(rows) != len(passages):
            raise ArtifactError(
                f"{folder} is damaged: its vectors are not those of its {len(passages)} passages; "
                "save the index again"
            )
        return Embeddings(
            passages=passages,
            vectors=VectorIndex(rows),
            embedder=embedder,
            model=settings.get("model"),
            query_prefix=settings.get("query_prefix", ""),
        )

    def _nearest(self, vectors: npt.NDArray[np.float16], k: int) -> list[list[Passage]]:
        self._check_dimension(vectors, self.vectors.rows.shape[1])
        return [self._nearest_to(vector, k) for vector in vectors]

    def _nearest_to(self, vector: npt.NDArray[np.float16], k: int) -> list[Passage]:
        places, scores = self.vectors.best(vector, k)
        return [
            replace(self.passages[place], score=score)
            for place, score in zip(places, scores, strict=True)
        ]
