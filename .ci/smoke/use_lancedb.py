"""A search in a table of LanceDB."""

import lancedb
from vectors import EMBEDDER, TEXTS, VECTORS, check

import lmpipe
from lmpipe.retrieval import LanceTable

rows = [
    {"id": str(n), "text": text, "title": "", "vector": VECTORS[n]} for n, text in enumerate(TEXTS)
]
table = lancedb.connect("database").create_table("passages", rows)
with lmpipe.using(embedder=EMBEDDER):
    check(LanceTable.from_index(table))
