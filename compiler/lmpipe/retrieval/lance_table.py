"""`LanceTable`: search a table of the package `lancedb`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmpipe.lm.lm import LM
from lmpipe.retrieval.corpus import passage_of
from lmpipe.retrieval.vector_retriever import VectorRetriever
from lmpipe.signatures.field_types.passage import Passage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_DISTANCE = "_distance"


@dataclass(frozen=True, kw_only=True, eq=False)
class LanceTable(VectorRetriever):
    """Searches a table of the package `lancedb`; made by `from_index`.

    The score of a passage is its distance, negated.
    """

    table: Any = field(repr=False)
    columns: Mapping[str, str]
    vector: str

    @staticmethod
    def from_index(
        table: Any,
        *,
        text: str = "text",
        id: str = "id",
        title: str = "title",
        vector: str = "vector",
        embedder: LM | str | None = None,
        model: str | None = None,
        query_prefix: str = "",
    ) -> LanceTable:
        """Use a table that has the passages and their vectors.

        Queries have vectors of unit length.

        Args:
            table: a table, such as `lancedb.connect(folder).open_table("passages")`.
            text: the column with the text of a passage.
            id: the column with its id, if there is one.
            title: the column with its title, if there is one. Other columns are metadata.
            vector: the column with its vector.
            embedder: the LM that embeds queries, or its name; by default the configured embedder.
            model: the model that embedded the corpus; no other one may then embed queries.
            query_prefix: what the model wants before a query, such as `"query: "`.
        """
        return LanceTable(
            table=table,
            columns={text: "text", id: "id", title: "title"},
            vector=vector,
            embedder=embedder,
            model=model,
            query_prefix=query_prefix,
        )

    def _nearest(self, vectors: npt.NDArray[np.float16], k: int) -> list[list[Passage]]:
        found = []
        for vector in vectors.astype("float32"):
            query = self.table.search(vector, vector_column_name=self.vector)
            found.append([self._passage(row) for row in query.limit(k).to_list()])
        return found

    def _passage(self, row: Mapping[str, Any]) -> Passage:
        kept = {name: value for name, value in row.items() if name not in (self.vector, _DISTANCE)}
        named = {self.columns.get(name, name): value for name, value in kept.items()}
        return passage_of({**named, "score": -row[_DISTANCE]})
