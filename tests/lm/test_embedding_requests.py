"""Embedding requests are handled like chat requests: keys, stores, coalescing, accounts, replay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from helpers.embeddings import decode_vector

from lmpipe.errors import CassetteMissError, ConfigError, DeadlineError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.call import Call
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.concurrency import loop
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request, embedding_request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.settings import using


def embed(runtime: Runtime, lm: LM, *texts: str) -> list[Reply]:
    requests = [embedding_request(lm, text) for text in texts]
    return loop.run_sync(runtime.aembed(requests, label="pool"))


def sent(lm: ScriptedLM) -> list[list[str]]:
    """Return the texts of each request that reached an LM."""
    return [[turn.content for turn in request.messages] for request in lm.requests]


def test_the_key_differs_from_that_of_a_chat_request() -> None:
    lm = LM("vllm/m", base_url="http://127.0.0.1:8000/v1")
    embedding = embedding_request(lm, "tea")
    chat = Request(lm, (Message("user", "tea"),))
    assert embedding.embeds
    assert not chat.embeds
    assert embedding.key() != chat.key()
    assert (
        embedding.key() == embedding_request(lm, "tea").key() != embedding_request(lm, "cup").key()
    )


def test_texts_are_sent_together_and_returned_in_order() -> None:
    lm = ScriptedLM(vectors=lambda text: [len(text), 0.0, 1.0])
    replies = embed(Runtime(), lm, "a", "four", "a")
    assert sent(lm) == [["a", "four"]]
    first, second, third = (decode_vector(reply.text) for reply in replies)
    assert first == third != second
    assert second[0] == pytest.approx(4 / 17**0.5, abs=1e-3)


def test_stored_vectors_are_not_requested_again(tmp_path: Path) -> None:
    lm = ScriptedLM()
    for _ in range(2):
        runtime = Runtime(store=Cache(tmp_path))
        first = runtime.complete(embedding_request(lm, "tea"))
        replies = embed(runtime, lm, "cup", "tea")
        assert replies[1].text == first.text
        runtime.close()
    assert sent(lm) == [["tea"], ["cup"]]


async def test_one_text_in_flight_is_one_call() -> None:
    lm, runtime = ScriptedLM(), Runtime()
    request = embedding_request(lm, "tea")
    replies = await asyncio.gather(*(runtime.acomplete(request) for _ in range(20)))
    assert len({reply.text for reply in replies}) == 1
    assert len(lm.requests) == runtime.fresh_calls


def test_a_batch_shares_a_text_that_is_already_in_flight() -> None:
    async def scenario() -> None:
        lm, runtime = _Gated(), Runtime()
        alone = asyncio.create_task(runtime.acomplete(embedding_request(lm, "tea")))
        await lm.reached.wait()
        requests = [embedding_request(lm, text) for text in ("cup", "tea")]
        together = asyncio.create_task(runtime.aembed(requests))
        lm.opened.set()
        cup, tea = await together
        assert tea.text == (await alone).text != cup.text
        assert sent(lm) == [["tea"], ["cup"]]

    loop.run_sync(scenario())


class _Gated(ScriptedLM):
    """Replies when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__.update(reached=asyncio.Event(), opened=asyncio.Event())

    reached: asyncio.Event
    opened: asyncio.Event

    async def embed(self, request: Request) -> list[Reply]:
        replies = await super().embed(request)
        self.reached.set()
        await self.opened.wait()
        return replies


def test_texts_that_are_sent_together_are_one_call_in_the_accounts() -> None:
    lm, runtime = ScriptedLM(name="embedder", price=(1e6, 0.0)), Runtime()
    calls: list[Call] = []
    with scope(calls=calls, role="task"):
        embed(runtime, lm, "one two", "three")
    (call,) = calls
    assert (call.role, call.label, call.lm, call.usd) == (
        "embedder",
        "pool",
        "scripted/embedder",
        3.0,
    )
    assert not call.reply.cached


def test_without_texts_no_call_is_made() -> None:
    calls: list[Call] = []
    with scope(calls=calls):
        assert embed(Runtime(), ScriptedLM()) == []
    assert calls == []


def test_a_cassette_replays_vectors_in_any_grouping(tmp_path: Path) -> None:
    lm, path = ScriptedLM(), tmp_path / "c.jsonl"
    with Cassette(path, mode="rewrite") as cassette:
        recorded = embed(Runtime(store=cassette), lm, "tea", "cup")
    assert b'{"embed":"tea"}' in path.read_bytes()
    replaying = ScriptedLM()
    with Cassette(path) as cassette:
        runtime = Runtime(store=cassette)
        replayed = [runtime.complete(embedding_request(replaying, text)) for text in ("tea", "cup")]
        with pytest.raises(CassetteMissError, match="pot"):
            embed(runtime, replaying, "tea", "pot")
    assert [reply.text for reply in replayed] == [reply.text for reply in recorded]
    assert [reply.usage for reply in replayed] == [reply.usage for reply in recorded]
    assert not replaying.requests


def test_a_deadline_applies_to_vectors_too() -> None:
    with using(runtime=Runtime(), deadline=1e-9), pytest.raises(DeadlineError):
        embed(Runtime(), ScriptedLM(), "tea")


def test_the_embedded_engine_refuses_to_embed() -> None:
    with pytest.raises(ConfigError, match=r"LM\('local'\) does not support embeddings"):
        embed(Runtime(retry=RetryPolicy(attempts=1)), LM("local"), "tea")
