"""A search in a collection of Qdrant."""

from qdrant_client import QdrantClient, models
from vectors import EMBEDDER, TEXTS, VECTORS, check

import lmpipe
from lmpipe.retrieval import QdrantCollection

client = QdrantClient(path="database")
client.create_collection(
    "passages", models.VectorParams(size=len(VECTORS[0]), distance=models.Distance.COSINE)
)
client.upsert(
    "passages",
    [
        models.PointStruct(id=n, vector=VECTORS[n], payload={"text": text})
        for n, text in enumerate(TEXTS)
    ],
)
with lmpipe.using(embedder=EMBEDDER):
    check(QdrantCollection.from_index(client, "passages"))
client.close()
