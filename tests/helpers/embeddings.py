"""Retrieval by the vectors of a scripted embedder."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import lmpipe
from lmpipe.foundation.vectors import decode_bytes, dimension_of, encode_vector, join_vectors
from lmpipe.state.program_state import Demo, Retrieval, Vectors


def scripted_embedder(**settings: Any) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(name="embedder", **settings)


def decode_vector(text: str) -> list[float]:
    """The numbers of an encoded vector."""
    data = decode_bytes(text)
    return list(struct.unpack(f"<{len(data) // 2}e", data))


def vector_of(text: str, embedder: lmpipe.ScriptedLM | None = None) -> str:
    """The encoded vector of one text."""
    return encode_vector((embedder or scripted_embedder()).vectors(text))


def vectors_of(texts: Sequence[str], embedder: lmpipe.ScriptedLM | None = None) -> Vectors:
    """The vectors of some texts."""
    embedder = embedder or scripted_embedder()
    found = [vector_of(text, embedder) for text in texts]
    dimension = dimension_of(found[0]) if found else 1
    return Vectors(embedder=embedder.model, dimension=dimension, data=join_vectors(found))


def by_embeddings(pool: Sequence[Demo], field: str, *, k: int, **options: Any) -> Retrieval:
    """A retrieval that compares the vectors of one input field."""
    vectors = vectors_of([str(demo.inputs[field]) for demo in pool], options.pop("embedder", None))
    return Retrieval(pool=tuple(pool), k=k, vectors=vectors, **options)
