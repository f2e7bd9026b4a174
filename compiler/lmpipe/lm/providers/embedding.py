"""Vectors from servers: what `/embeddings` is sent and answers, and the replies it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import orjson

from lmpipe.errors import LMUnavailableError
from lmpipe.foundation.vectors import encode_vector
from lmpipe.lm.providers.openai_reply import Server
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.usage import Usage


def embedding_body(request: Request) -> dict[str, Any]:
    """What is sent to the server, as JSON; decoding settings are of no use to it."""
    lm = request.lm
    return {"encoding_format": "float", **lm.params, "model": lm.name, "input": texts_of(request)}


def texts_of(request: Request) -> list[str]:
    """The texts whose vectors are asked for."""
    return [message.content for message in request.messages]


def read_embeddings(server: Server, body: bytes, request: Request, seconds: float) -> list[Reply]:
    """Read a list of embeddings: one reply for each text.

    Raises:
        LMUnavailableError: if it is no such list.
    """
    try:
        value = orjson.loads(body)
        entries = sorted(value["data"], key=lambda entry: entry["index"])
        vectors = [entry["embedding"] for entry in entries]
        tokens = int((value.get("usage") or {}).get("prompt_tokens") or 0)
        return vector_replies(request, vectors, tokens=tokens, seconds=seconds)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise LMUnavailableError(
            f"{server} answered with no embeddings of {len(request.messages)} texts: "
            f"{server.excerpt(body)!r}. Check that it serves an embedding model and that base_url "
            "is its address, up to /v1"
        ) from error


def vector_replies(
    request: Request, vectors: Sequence[Sequence[float]], *, tokens: int, seconds: float
) -> list[Reply]:
    """A reply for each text of a request.

    Args:
        request: what was asked.
        vectors: a vector for each text.
        tokens: what all texts took together; each is taken to have its share by length.
        seconds: how long it took.

    Raises:
        ValueError: if there are more or fewer vectors than texts, or one is none.
    """
    texts = texts_of(request)
    lengths = [0, *accumulate(max(len(text), 1) for text in texts)]
    ends = [tokens * length // lengths[-1] for length in lengths]
    return [
        Reply(encode_vector(vector), usage=Usage(end - start), seconds=seconds)
        for vector, (start, end) in zip(vectors, pairwise(ends), strict=True)
    ]
