"""The request to `/embeddings`, and its answer as replies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from lmpipe.errors import LMUnavailableError
from lmpipe.foundation.vectors import encode_vector
from lmpipe.lm.providers.openai_reply import Server
from lmpipe.lm.providers.server_json import read_server_json
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage


def texts_of(request: Request) -> list[str]:
    """The texts to embed."""
    return [message.text for message in request.messages]


def read_embeddings(server: Server, body: bytes, request: Request, seconds: float) -> list[Reply]:
    """Parse a list of embeddings, which took so many seconds, into one reply per text.

    Raises an LMUnavailableError if it is not a list with one vector per text.
    """
    try:
        value = read_server_json(body)
        entries = sorted(value["data"], key=lambda entry: entry["index"])
        vectors = [entry["embedding"] for entry in entries]
        tokens = Usage.from_openai(value.get("usage")).prompt_tokens
        return vector_replies(request, vectors, tokens=tokens, seconds=seconds)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise LMUnavailableError(
            f"{server} did not answer with the embeddings of {len(request.messages)} texts: "
            f"{server.excerpt(body)!r}. Check that it serves an embedding model and that base_url "
            "is its address, up to /v1",
            sent=True,
        ) from error


def vector_replies(
    request: Request, vectors: Sequence[Sequence[float]], *, tokens: int, seconds: float
) -> list[Reply]:
    """Build one reply per text of a request; the tokens are divided among the texts by length.

    Raises a ValueError if the number of vectors is wrong, or a vector is invalid.
    """
    texts = texts_of(request)
    lengths = [0, *accumulate(max(len(text), 1) for text in texts)]
    ends = [tokens * length // lengths[-1] for length in lengths]
    return [
        Reply(encode_vector(vector), usage=Usage(end - start), seconds=seconds)
        for vector, (start, end) in zip(vectors, pairwise(ends), strict=True)
    ]
