"""A server is asked for the context of its model once a reply was cut, if nobody knows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from helpers.fake_server import Serving

from lmpipe.errors import CutError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.modules import Predict
from lmpipe.settings import using

VLLM = {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 32768}]}}
SGLANG = {"/v1/models": {"data": [{"id": "m", "owned_by": "sglang", "max_model_len": 32768}]}}
ADAPTER = {
    "/v1/models": {
        "data": [
            {"id": "base", "max_model_len": 32768},
            {"id": "m", "parent": "base", "max_model_len": None},
        ]
    }
}
LLAMACPP = {
    "/v1/models": {"data": [{"id": "x.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 9}}]},
    "/props": {"default_generation_settings": {"n_ctx": 32768}},
}
SILENT: dict[str, Any] = {}


class CuttingServer:
    """It cuts every reply at the limit, and tells about itself what it is given."""

    def __init__(self, about: dict[str, Any], *, enough: int) -> None:
        self.about, self.enough = about, enough
        self.asked: list[str] = []
        self.limits: list[int] = []
        self.url = ""
        self.app = web.Application()
        self.app.router.add_post("/v1/chat/completions", self._chat)
        self.app.router.add_get("/{path:.*}", self._tell)

    async def _tell(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path not in self.about:
            raise web.HTTPNotFound
        return web.json_response(self.about[request.path])

    async def _chat(self, request: web.Request) -> web.Response:
        limit = (await request.json())["max_tokens"]
        self.limits.append(limit)
        cut = limit < self.enough
        message = {"content": "[[a]]\nPar" if cut else "[[a]]\nParis"}
        choice = {"message": message, "finish_reason": "length" if cut else "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": min(limit, self.enough)}
        return web.json_response({"choices": [choice], "usage": usage})


@asynccontextmanager
async def cutting(about: dict[str, Any], *, enough: int = 1) -> AsyncIterator[CuttingServer]:
    server = CuttingServer(about, enough=enough)
    serving = Serving(server.app)
    server.url = f"http://127.0.0.1:{await serving.start()}/v1"
    try:
        yield server
    finally:
        await serving.stop()


async def ask(lm: LM, runtime: Runtime | None = None) -> Reply:
    return await (runtime or Runtime()).acomplete(Request(lm, (Message("user", "hi"),)))


@pytest.mark.parametrize(
    "about",
    [VLLM, SGLANG, ADAPTER, LLAMACPP],
    ids=["vllm", "sglang", "adapter", "llamacpp"],
)
async def test_a_cut_reply_has_the_context_that_its_server_tells(about: dict[str, Any]) -> None:
    async with cutting(about, enough=9) as server:
        reply = await ask(LM("openai/m", base_url=server.url, max_tokens=5))
    assert reply.context == 32768


@pytest.mark.parametrize(
    "about",
    [
        SILENT,
        {"/v1/models": ["no list"]},
        {"/v1/models": {"data": [{"id": "m", "max_model_len": "many"}]}, "/props": {}},
        {"/props": {"default_generation_settings": {"n_ctx": -1}}},
    ],
    ids=["no answer", "another answer", "no number", "a wrong number"],
)
async def test_a_server_that_does_not_tell_its_context_is_used_as_before(
    about: dict[str, Any],
) -> None:
    async with cutting(about, enough=9) as server:
        reply = await ask(LM("openai/m", base_url=server.url, max_tokens=5))
    assert (reply.finish, reply.context) == ("length", 0)


async def test_a_server_is_asked_once() -> None:
    async with cutting(LLAMACPP, enough=9) as server:
        runtime, lm = Runtime(), LM("openai/m", base_url=server.url, max_tokens=5)
        for limit in (5, 6):
            await ask(lm.with_settings(max_tokens=limit), runtime)
    assert server.asked == ["/v1/models", "/props"]


@pytest.mark.parametrize(("limit", "context"), [(9, {}), (5, {"context": 100})])
async def test_nobody_asks_if_no_reply_was_cut_or_the_context_is_given(
    limit: int, context: dict[str, Any]
) -> None:
    async with cutting(VLLM, enough=9) as server:
        reply = await ask(LM("openai/m", base_url=server.url, max_tokens=limit, **context))
    assert (reply.context, server.asked) == (0, [])


async def test_a_reply_gets_as_much_room_as_the_server_has() -> None:
    async with cutting(VLLM, enough=10_000) as server:
        lm = LM("openai/m", base_url=server.url, max_tokens=6000)
        with using(lm=lm, runtime=Runtime()):
            assert (await Predict("q -> a").acall(q="?")).a == "Paris"
    assert server.limits == [6000, 12_000]


async def test_a_reply_gets_no_more_room_than_a_small_server_has() -> None:
    small = {"/v1/models": {"data": [{"id": "m", "max_model_len": 1024}]}}
    async with cutting(small, enough=10_000) as server:
        lm = LM("openai/m", base_url=server.url, max_tokens=600)
        with (
            using(lm=lm, runtime=Runtime()),
            pytest.raises(CutError, match="LM's context of 1024 tokens"),
        ):
            await Predict("q -> a").acall(q="?")
    assert server.limits == [600, 1024 - 100]


async def test_a_stored_reply_keeps_the_context_so_that_a_replay_asks_the_same(
    tmp_path: Path,
) -> None:
    async with cutting(VLLM, enough=10_000) as server:
        lm = LM("openai/m", base_url=server.url, max_tokens=6000)
        for _ in range(2):
            runtime = Runtime(store=Cache(tmp_path))
            with using(lm=lm, runtime=runtime):
                assert (await Predict("q -> a").acall(q="?")).a == "Paris"
            await runtime.aclose()
            assert runtime.store is not None
            runtime.store.close()
    assert server.limits == [6000, 12_000]
