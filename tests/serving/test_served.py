"""LMs without a URL are served on demand, and adapters are loaded before their use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmpipe import LM
from lmpipe.errors import ConfigError, LMError
from lmpipe.lm.message import Message
from lmpipe.lm.reply_store import ReplyStore
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.serving import Fleet, ServerSpec, start_server
from lmpipe.serving.served import ServedLMs
from lmpipe.settings import make_runtime

TINY = LM("vllm/tiny")


def request(lm: LM, text: str = "hello") -> Request:
    return Request(lm, (Message("user", text),))


def make_runtime_with(served: ServedLMs, store: ReplyStore | None = None) -> Runtime:
    return Runtime(store=store, servers=served, retry=RetryPolicy(attempts=1))


async def test_an_lm_without_a_url_is_served_at_its_first_request(spec: ServerSpec) -> None:
    served = ServedLMs(Fleet({"vllm/tiny": spec}, devices=[]))
    runtime = make_runtime_with(served)
    assert served.fleet.running == ()
    assert (await runtime.acomplete(request(TINY))).text == "tiny"
    assert served.fleet.running == ("vllm/tiny",)
    await runtime.aclose()
    assert served.fleet.running == ()


async def test_a_cached_reply_starts_no_server(spec: ServerSpec, tmp_path: Path) -> None:
    store = make_runtime(cache=tmp_path / "cache").store
    first = make_runtime_with(ServedLMs(Fleet({"vllm/tiny": spec}, devices=[])), store)
    fresh = await first.acomplete(request(TINY))
    await first.aclose()
    served = ServedLMs(Fleet({"vllm/tiny": spec}, devices=[]))
    again = await make_runtime_with(served, store).acomplete(request(TINY))
    assert again.text == fresh.text
    assert again.cached
    assert served.fleet.running == ()
    assert store is not None
    store.close()


async def test_each_request_goes_to_its_adapter(
    spec: ServerSpec, adapter: Callable[..., Path]
) -> None:
    served = ServedLMs(Fleet({"vllm/tiny": spec}, devices=[]))
    runtime = make_runtime_with(served)
    for name in ("route-1", "details-2"):
        served.add_adapter(name, adapter(name))
    for name in ("route-1", "details-2", "route-1"):
        reply = await runtime.acomplete(request(TINY.with_adapter(name)))
        assert reply.text == name
    assert (await runtime.acomplete(request(TINY))).text == "tiny"
    async with served.fleet.use("vllm/tiny") as server:
        answered = (await server.metrics()).adapters
    assert set(answered) == {"route-1", "details-2"}
    await runtime.aclose()


async def test_an_adapter_is_loaded_at_a_running_server(
    spec: ServerSpec, adapter: Callable[..., Path]
) -> None:
    async with await start_server(spec) as server:
        served = ServedLMs(Fleet({}, devices=[]))
        served.add_adapter("tone-1", adapter("tone-1"))
        runtime = make_runtime_with(served)
        lm = LM("vllm/tiny", base_url=server.base_url, adapter="tone-1")
        assert (await runtime.acomplete(request(lm))).text == "tone-1"
        await runtime.aclose()
        assert await server.healthy()


async def test_an_adapter_without_weights_is_an_error(spec: ServerSpec) -> None:
    runtime = make_runtime_with(ServedLMs(Fleet({"vllm/tiny": spec}, devices=[])))
    with pytest.raises(LMError, match=r"adapter lost-1 of vllm/tiny.*not on this machine"):
        await runtime.acomplete(request(TINY.with_adapter("lost-1")))
    await runtime.aclose()


async def test_an_lm_without_a_server_is_an_error() -> None:
    runtime = make_runtime_with(ServedLMs(Fleet({}, devices=[])))
    with pytest.raises(ConfigError, match="no server 'vllm/tiny'"):
        await runtime.acomplete(request(TINY))
    await runtime.aclose()


def test_an_embedded_lm_takes_no_adapter() -> None:
    with pytest.raises(ConfigError, match="cannot use the adapter"):
        LM("local").with_adapter("tone-1")
