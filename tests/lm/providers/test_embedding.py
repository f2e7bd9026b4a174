"""Embeddings from OpenAI-compatible servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from helpers.embeddings import decode_vector
from helpers.fake_server import FakeServer

from lmpipe.errors import LMRequestError, LMUnavailableError
from lmpipe.foundation.vectors import encode_vector
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.providers.base import ServedAt
from lmpipe.lm.providers.embedding import read_embeddings, vector_replies
from lmpipe.lm.providers.openai_reply import Server
from lmpipe.lm.request import Reply, Request, embedding_request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy

KEY = "sk-very-secret"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def asked(*texts: str, model: str = "openai/embedder", **settings: Any) -> Request:
    return Request(LM(model, **settings), tuple(Message("embed", text) for text in texts))


def embed(lm: LM, *texts: str) -> list[Reply]:
    runtime = Runtime(retry=RetryPolicy(attempts=2, base=0.0))
    try:
        return loop.run_sync(runtime.aembed([embedding_request(lm, text) for text in texts]))
    finally:
        runtime.close()


@pytest.mark.parametrize("model", ["openai/embedder", "vllm/org/embedder"])
def test_texts_are_sent_and_vectors_read_in_order(server: FakeServer, model: str) -> None:
    lm = LM(model, base_url=server.base_url, api_key=KEY, dimensions=3)
    replies = embed(lm, "banana", "tea")
    assert server.bodies == [
        {
            "model": lm.name,
            "input": ["banana", "tea"],
            "encoding_format": "float",
            "dimensions": 3,
        }
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert [reply.text for reply in replies] == [encode_vector([1, 6, 3]), encode_vector([1, 3, 1])]
    assert sum(reply.usage.prompt_tokens for reply in replies) == 2


class OneServer:
    """A manager of one server that is already running."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.asked: list[str] = []

    @asynccontextmanager
    async def use(self, lm: LM) -> AsyncIterator[ServedAt]:
        self.asked.append(lm.model)
        yield ServedAt(self.base_url)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to stop."""


def test_the_server_of_an_embedder_without_an_address_is_managed(server: FakeServer) -> None:
    servers, lm = OneServer(server.base_url), LM("vllm/embedder")
    runtime = Runtime(servers=servers)
    reply = runtime.complete(embedding_request(lm, "tea"))
    runtime.close()
    assert reply.text == encode_vector([1, 3, 1])
    assert servers.asked == ["vllm/embedder"]


def test_an_overloaded_server_is_retried(server: FakeServer) -> None:
    server.fail(1, "503")
    (reply,) = embed(LM("openai/embedder", base_url=server.base_url), "tea")
    assert decode_vector(reply.text)[1] > 0.9
    assert server.stats()["503"] == 1


def test_a_refusal_does_not_show_the_key(server: FakeServer) -> None:
    server.fail(1, "400", body={"error": f"bad key {KEY}"})
    with pytest.raises(LMRequestError) as failure:
        embed(LM("openai/embedder", base_url=server.base_url, api_key=KEY), "tea")
    assert failure.value.status == 400
    assert KEY not in str(failure.value)


def test_tokens_are_divided_by_length_and_none_is_lost() -> None:
    request = asked("a" * 10, "", "a" * 29)
    replies = vector_replies(request, [[1.0]] * 3, tokens=13, seconds=0.0)
    tokens = [reply.usage.prompt_tokens for reply in replies]
    assert sum(tokens) == 13
    assert tokens[0] < tokens[2]


BAD = [
    "<html>",
    "{}",
    '{"data": []}',
    '{"data": [{"index": 0, "embedding": []}]}',
    '{"data": [{"index": 0, "embedding": "AAAA"}]}',
    '{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]}',
    '{"data": [{"index": 0, "embedding": [null]}]}',
    '{"data": [{"index": 0, "embedding": [1e999]}]}',
]


@pytest.mark.parametrize("body", BAD)
def test_an_answer_that_is_not_a_list_of_vectors_is_an_error(body: str) -> None:
    server = Server("openai/embedder", "http://127.0.0.1:1/v1")
    with pytest.raises(LMUnavailableError, match="not answer with the embeddings of 1 texts"):
        read_embeddings(server, body.encode(), asked("tea"), 0.0)
