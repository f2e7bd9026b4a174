"""A running server: its LM, adapters and metrics; attaching to one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.byte_server import answering, serving
from helpers.certificates import CA, CLIENT, server_context
from helpers.fake_server import FakeServer

from lmpipe.errors import ConfigError, ServerError
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.tls import TLS
from lmpipe.serving import ServedModel, ServerSpec, attach, start_server
from lmpipe.serving.server import attach_to

Adapter = Callable[..., Path]

_BODY = json.dumps({"data": [{"id": "tiny", "max_model_len": 2048}]})
MODELS = f"HTTP/1.1 200 OK\r\nContent-Length: {len(_BODY)}\r\n\r\n{_BODY}".encode()


async def test_its_lm_answers_and_is_in_the_metrics(spec: ServerSpec) -> None:
    async with await start_server(replace(spec, context=4096)) as server:
        before = await server.metrics()
        lm = server.lm(temperature=0.5, max_tokens=3)
        assert (lm.model, lm.context, lm.max_tokens) == ("vllm/tiny", 4096, 3)
        runtime = Runtime()
        reply = await runtime.acomplete(Request(lm, (Message("user", "hello"),)))
        await runtime.aclose()
        assert reply.text == "tiny"
        span = await server.metrics() - before
        assert span.requests == {"tiny": 1}
        assert (span.prompt_tokens, span.prefix_share) == (10, 0.5)


async def test_the_key_is_required_and_never_logged(spec: ServerSpec) -> None:
    env = {"FAKE_WRITE": "the key is $VLLM_API_KEY, you know"}
    keyed = replace(spec, api_key="sesame-7f31", env=env)
    async with await start_server(keyed) as server:
        assert await server.structured_outputs()
        with pytest.raises(ServerError, match="another API key"):
            await attach(server.base_url)
        assert (await attach(server.base_url, api_key="sesame-7f31")).name == "tiny"
        assert "sesame" not in f"{server!r} {server.failure()}"
        log = server.log
    assert log is not None
    assert "the key is ***, you know" in log.read_text()


async def test_a_key_in_the_environment_is_used(
    spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sesame")
    async with await start_server(spec) as server:
        assert server.lm().api_key == "sesame"
        assert len(await server.models()) == 1


async def test_structured_outputs_are_tested_with_a_request(spec: ServerSpec) -> None:
    async with await start_server(spec) as server:
        assert await server.structured_outputs()
        assert await server.structured_outputs()
        assert (await server.metrics()).requests == {"tiny": 1}  # one request
    async with await start_server(replace(spec, env={"FAKE_LOOSE": "1"})) as server:
        assert not await server.structured_outputs()


async def test_adapters_are_loaded_replaced_and_unloaded(
    spec: ServerSpec, adapter: Adapter
) -> None:
    first, other = adapter("first"), adapter("other")
    async with await start_server(spec) as server:
        await asyncio.gather(*(server.load_adapter("a", first) for _ in range(4)))
        await server.load_adapter("a", str(first))
        assert (await server.models())[1:] == [ServedModel("a", str(first), "tiny", None)]
        await server.load_adapter("a", other)  # the same name from another folder
        assert [model.root for model in await server.models()][1:] == [str(other)]
        runtime = Runtime()
        request = Request(server.lm(adapter="a"), (Message("user", "hello"),))
        assert (await runtime.acomplete(request)).text == "a"
        await runtime.aclose()
        assert (await server.metrics()).adapters == {"a"}
        await server.unload_adapter("a")
        await server.unload_adapter("a")
        assert len(await server.models()) == 1


async def test_a_rejected_adapter_is_explained(spec: ServerSpec, adapter: Adapter) -> None:
    async with await start_server(spec) as server:
        with pytest.raises(ServerError, match="rank=64"):
            await server.load_adapter("wide", adapter("wide", rank=48))
        with pytest.raises(ServerError, match="nowhere is not an adapter folder"):
            await server.load_adapter("none", "nowhere")
    async with await start_server(replace(spec, adapters=None)) as server:
        with pytest.raises(ServerError, match="--lora-rank"):
            await server.load_adapter("a", adapter("a"))


async def test_the_error_for_a_dead_server_has_its_last_lines(spec: ServerSpec) -> None:
    async with await start_server(spec) as server:
        await kill(server.base_url)
        while server.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not await server.healthy()
        failure = server.failure()
        assert "has died (exit status 3)" in str(failure)
        assert failure.log[-1] == "RuntimeError: dying on request"


async def kill(base_url: str) -> None:
    """Make a fake server die; it does not answer."""
    host, _, port = base_url.removeprefix("http://").removesuffix("/v1").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /die HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_an_attached_server_is_used_and_never_stopped(spec: ServerSpec) -> None:
    async with await start_server(spec) as server:
        for address in (server.base_url, server.base_url.removesuffix("/v1") + "/"):
            async with await attach(address) as attached:
                assert (attached.base_url, attached.name) == (server.base_url, "tiny")
                assert not attached.owned
                assert attached.pid is None
                assert attached.lm() == server.lm()
            assert not attached.running
        assert await server.healthy()


async def test_attaching_to_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="not a valid server URL"):
        await attach("nonsense")
    with pytest.raises(ServerError, match="is it running"):
        await attach("http://127.0.0.1:9/v1")


async def test_a_server_with_certificates_can_be_attached_to() -> None:
    tls = TLS(ca=CA, cert=CLIENT)
    async with serving(answering(MODELS), server_context(asks_for_certificate=True)) as server:
        address = f"https://localhost:{server.port}"
        async with await attach(address, tls=tls) as attached:
            assert (attached.name, attached.lm().tls) == ("tiny", tls)
        with pytest.raises(ServerError, match="does not answer"):
            await attach(address)


async def test_the_server_of_an_lm_is_attached_to_with_the_lms_certificates() -> None:
    tls = TLS(ca=CA, cert=CLIENT)
    async with serving(answering(MODELS), server_context(asks_for_certificate=True)) as server:
        lm = LM("vllm/tiny", base_url=f"https://localhost:{server.port}/v1", tls=tls)
        async with await attach_to(lm) as attached:
            assert attached.name == "tiny"


async def test_other_servers_than_vllm_can_be_attached_to() -> None:
    with FakeServer("echo") as other:
        attached = await attach(other.base_url)
        with pytest.raises(ServerError, match="has no metrics: HTTP 404"):
            await attached.metrics()
        assert not await attached.structured_outputs()
        await attached.stop()
