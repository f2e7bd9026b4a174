"""The public names, each imported when it is first used."""

from .bm25 import BM25 as BM25
from .embeddings import Embeddings as Embeddings
from .faiss_index import FaissIndex as FaissIndex
from .fusion import Fusion as Fusion
from .lance_table import LanceTable as LanceTable
from .qdrant_collection import QdrantCollection as QdrantCollection
from .retriever import FunctionRetriever as FunctionRetriever
from .retriever import Retriever as Retriever
from .vector_retriever import VectorRetriever as VectorRetriever
