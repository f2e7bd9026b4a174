"""Search: a corpus of passages, and the retrievers that find the best ones for a query."""

from lmpipe.retrieval.bm25 import BM25
from lmpipe.retrieval.embeddings import Embeddings
from lmpipe.retrieval.faiss_index import FaissIndex
from lmpipe.retrieval.fusion import Fusion
from lmpipe.retrieval.lance_table import LanceTable
from lmpipe.retrieval.qdrant_collection import QdrantCollection
from lmpipe.retrieval.retriever import FunctionRetriever, Retriever
from lmpipe.retrieval.vector_retriever import VectorRetriever

__all__ = [
    "BM25",
    "Embeddings",
    "FaissIndex",
    "FunctionRetriever",
    "Fusion",
    "LanceTable",
    "QdrantCollection",
    "Retriever",
    "VectorRetriever",
]
