"""A search in an index of FAISS."""

import faiss
import numpy
from vectors import EMBEDDER, TEXTS, VECTORS, check

import lmpipe
from lmpipe.retrieval import FaissIndex

index = faiss.IndexFlatIP(len(VECTORS[0]))
index.add(numpy.array(VECTORS, dtype="float32"))
with lmpipe.using(embedder=EMBEDDER):
    check(FaissIndex.from_index(index, TEXTS))
