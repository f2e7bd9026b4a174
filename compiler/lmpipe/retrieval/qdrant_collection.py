"""`QdrantCollection`: search a collection through a client of the package `qdrant-client`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM
from lmpipe.retrieval.corpus import passage_of
from lmpipe.retrieval.vector_retriever import VectorRetriever
from lmpipe.signatures.field_types.passage import Passage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# Of these distances, less is nearer.
_LESS_IS_NEARER = ("Euclid", "Manhattan")


@dataclass(frozen=True, kw_only=True, eq=False)
class QdrantCollection(VectorRetriever):
    """Searches a collection of Qdrant; made by `from_index`."""

    client: Any = field(repr=False)
    collection: str
    keys: Mapping[str, str]
    vector: str | None
    _sign: float = field(repr=False)

    @staticmethod
    def from_index(
        client: Any,
        collection: str,
        *,
        text: str = "text",
        title: str = "title",
        vector: str | None = None,
        embedder: LM | str | None = None,
        model: str | None = None,
        query_prefix: str = "",
    ) -> QdrantCollection:
        """Use a collection whose points have the passages as their payload.

        The ids of the points are those of the passages. Queries have vectors of unit length.

        Args:
            client: a client, such as `qdrant_client.QdrantClient(path=folder)`.
            collection: the name of the collection.
            text: the key of the payload with the text of a passage.
            title: the key with its title, if there is one. Other keys are metadata.
            vector: the name of the vector, if the points have several.
            embedder: the LM that embeds queries, or its name; by default the configured embedder.
            model: the model that embedded the corpus; no other one may then embed queries.
            query_prefix: what the model wants before a query, such as `"query: "`.

        Raises:
            ConfigError: if the collection has no such vector.
        """
        vectors = client.get_collection(collection).config.params.vectors
        named = isinstance(vectors, Mapping)
        if named != (vector is not None) or (named and vector not in vectors):
            names = ", ".join(map(repr, vectors)) if named else "one without a name"
            raise ConfigError(
                f"QdrantCollection({collection!r}, vector={vector!r}): its vectors are {names}"
            )
        distance = (vectors[vector] if named else vectors).distance
        return QdrantCollection(
            client=client,
            collection=collection,
            keys={text: "text", title: "title"},
            vector=vector,
            _sign=-1.0 if distance in _LESS_IS_NEARER else 1.0,
            embedder=embedder,
            model=model,
            query_prefix=query_prefix,
        )

    def _nearest(self, vectors: npt.NDArray[np.float16], k: int) -> list[list[Passage]]:
        found = []
        for vector in vectors.astype("float32"):
            answer = self.client.query_points(
                self.collection, query=vector.tolist(), using=self.vector, limit=k
            )
            found.append([self._passage(point) for point in answer.points])
        return found

    def _passage(self, point: Any) -> Passage:
        payload = {self.keys.get(name, name): value for name, value in point.payload.items()}
        return passage_of({**payload, "id": str(point.id), "score": self._sign * point.score})
