"""Indexes of FAISS, LanceDB and Qdrant, each in its local mode, find what `Embeddings` finds."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from helpers.embeddings import scripted_embedder
from helpers.passages import CORPUS, ids

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.runtime import Runtime
from lmpipe.retrieval import FaissIndex, LanceTable, QdrantCollection
from lmpipe.settings import using

QUERIES = ["capital of Italy.", "the Tiber"]


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    with using(lm="local", runtime=Runtime(), embedder=scripted_embedder()):
        yield


@pytest.fixture
def embedded() -> lmpipe.Embeddings:
    return lmpipe.Embeddings.of(CORPUS)


def rows(embedded: lmpipe.Embeddings) -> list[dict[str, Any]]:
    vectors = embedded.vectors.rows.astype("float32").tolist()
    return [
        {"id": one.id, "body": one.text, "title": one.title, "year": 1900, "vector": vector}
        for one, vector in zip(embedded.passages, vectors, strict=True)
    ]


def faiss_index(embedded: lmpipe.Embeddings, kind: str) -> Any:
    faiss = pytest.importorskip("faiss")
    index = getattr(faiss, kind)(embedded.vectors.rows.shape[1])
    index.add(embedded.vectors.rows.astype("float32"))
    return index


@pytest.mark.parametrize("kind", ["IndexFlatIP", "IndexFlatL2"])
def test_an_index_of_faiss(embedded: lmpipe.Embeddings, kind: str) -> None:
    found = lmpipe.Retrieve(FaissIndex.from_index(faiss_index(embedded, kind), CORPUS), k=2)
    expected = lmpipe.Retrieve(embedded, k=2)
    for query in QUERIES:
        assert ids(found(query)) == ids(expected(query))
        assert found(query)[0].score > found(query)[1].score


def test_faiss_gives_no_more_than_there_is(embedded: lmpipe.Embeddings) -> None:
    index = FaissIndex.from_index(faiss_index(embedded, "IndexFlatIP"), CORPUS)
    assert len(lmpipe.Retrieve(index, k=9)("x")) == len(CORPUS)


def test_an_index_of_faiss_of_other_passages_is_refused(embedded: lmpipe.Embeddings) -> None:
    with pytest.raises(ConfigError, match="4 vectors, but the corpus 3 passages"):
        FaissIndex.from_index(faiss_index(embedded, "IndexFlatIP"), CORPUS[:3])


def test_vectors_of_another_length_are_refused(embedded: lmpipe.Embeddings) -> None:
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatIP(3)
    index.add(embedded.vectors.rows[:, :3].astype("float32"))
    with pytest.raises(ConfigError, match="but the passages of 3"):
        lmpipe.Retrieve(FaissIndex.from_index(index, CORPUS))("x")


def test_a_table_of_lancedb(embedded: lmpipe.Embeddings, tmp_path: Path) -> None:
    lancedb = pytest.importorskip("lancedb")
    table = lancedb.connect(str(tmp_path)).create_table("passages", rows(embedded))
    found = lmpipe.Retrieve(LanceTable.from_index(table, text="body"), k=2)
    expected = lmpipe.Retrieve(embedded, k=2)
    for query in QUERIES:
        assert ids(found(query)) == ids(expected(query))
    best = found("capital of Italy.")[0]
    assert (best.text, best.metadata) == ("Rome is the capital of Italy.", {"year": 1900})


@pytest.mark.parametrize("distance", ["COSINE", "EUCLID"])
@pytest.mark.parametrize("name", [None, "dense"])
def test_a_collection_of_qdrant(
    embedded: lmpipe.Embeddings, tmp_path: Path, distance: str, name: str | None
) -> None:
    qdrant = pytest.importorskip("qdrant_client")
    models = import_module("qdrant_client.models")
    client = qdrant.QdrantClient(path=str(tmp_path))
    size = embedded.vectors.rows.shape[1]
    params = models.VectorParams(size=size, distance=models.Distance[distance])
    client.create_collection("passages", params if name is None else {name: params})
    points = [
        models.PointStruct(
            id=number,
            vector=row["vector"] if name is None else {name: row["vector"]},
            payload={"body": row["body"], "year": row["year"]},
        )
        for number, row in enumerate(rows(embedded))
    ]
    client.upsert("passages", points)
    index = QdrantCollection.from_index(client, "passages", text="body", vector=name)
    found, expected = lmpipe.Retrieve(index, k=2), lmpipe.Retrieve(embedded, k=2)
    for query in QUERIES:
        assert [one.text for one in found(query)] == [one.text for one in expected(query)]
        assert found(query)[0].score > found(query)[1].score
    assert (found("capital of Italy.")[0].id, found("x")[0].metadata) == ("2", {"year": 1900})
    client.close()


def test_a_vector_that_the_collection_lacks_is_named(tmp_path: Path) -> None:
    qdrant = pytest.importorskip("qdrant_client")
    client = qdrant.QdrantClient(path=str(tmp_path))
    models = import_module("qdrant_client.models")
    params = models.VectorParams(size=2, distance=models.Distance.DOT)
    client.create_collection("passages", {"dense": params})
    with pytest.raises(ConfigError, match="its vectors are 'dense'"):
        QdrantCollection.from_index(client, "passages")
    client.close()


def test_only_the_named_model_may_embed_the_queries(embedded: lmpipe.Embeddings) -> None:
    index = faiss_index(embedded, "IndexFlatIP")
    with pytest.raises(ConfigError, match="the corpus was embedded by openai/large"):
        lmpipe.Retrieve(FaissIndex.from_index(index, CORPUS, model="openai/large"))("x")
