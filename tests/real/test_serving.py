"""A real vLLM server on the CPU: its start, calls, adapters, metrics and end.

Needs the environments of vLLM and of training: `make environments`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.provider_servers.every import covers_real

from lmpipe.errors import ConfigError, ServerError, TrainingError
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.serving import AdapterLimits, Fleet, ServerSpec, attach, start_server
from lmpipe.serving.find import find_vllm
from lmpipe.serving.served import ServedLMs
from lmpipe.weights.base_model import default_base_model

pytestmark = pytest.mark.real

RANK = 8
ON_CPU = ("--dtype", "bfloat16", "--enforce-eager", "--block-size", "32", "--max-num-seqs", "32")
ENV = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
OWNER = """
import asyncio, sys
from lmpipe.serving import ServerSpec, start_server

async def main():
    server = await start_server(ServerSpec(model=sys.argv[1], context=512, args=ARGS, env=ENV))
    print(server.pid, flush=True)
    sys.stdin.readline()

asyncio.run(main())
"""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, weights_home: str) -> str:
    """The folder of the embedded model's weights; skips if it cannot be made or served."""
    monkeypatch.setenv("LMPIPE_HOME", weights_home)
    try:
        find_vllm()
        return str(default_base_model())
    except (ConfigError, TrainingError) as error:
        pytest.skip(str(error).splitlines()[0])


def make_adapter(folder: Path, model: str, *, rank: int = RANK, fill: int = 0) -> Path:
    """Write a LoRA adapter for the first layer's queries with one value; 0 changes nothing."""
    config = json.loads((Path(model) / "config.json").read_text())
    width = config["hidden_size"]
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    shapes = {f"{name}A.weight": (rank, width), f"{name}B.weight": (width, rank)}
    header: dict[str, object] = {}
    data = b""
    for key, shape in shapes.items():
        tensor = struct.pack("<f", fill) * (shape[0] * shape[1])
        span = [len(data), len(data) + len(tensor)]
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": span}
        data += tensor
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none"}
    settings["target_modules"] = ["q_proj"]
    settings["base_model_name_or_path"] = model
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def processes_of(pid: int) -> list[int]:
    """The processes of a server's group: the server, its engine and its workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                group = int((entry / "stat").read_text().rpartition(")")[2].split()[2])
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += [int(entry.name)] if group == pid else []
    return found


def wait_for_end(watched: list[int]) -> bool:
    """Wait until processes have ended, given their pidfds; False after a minute each."""
    import select

    done = [bool(select.select([one], [], [], 60)[0]) for one in watched]
    for one in watched:
        os.close(one)
    return all(done)


@covers_real(("vLLM's own server, on the CPU", "SmolLM2-135M-Instruct"), "call", "structured")
async def test_the_life_of_a_server(model: str, tmp_path: Path) -> None:
    said: list[str] = []
    spec = ServerSpec(
        model=model,
        name="small",
        api_key="sesame-7f31",
        context=1024,
        adapters=AdapterLimits(rank=RANK, count=2),
        args=ON_CPU,
        env=ENV,
    )
    runtime = Runtime()
    async with await start_server(spec, on_progress=said.append) as server:
        assert any(line.startswith("vLLM ") for line in said), said
        assert any("weights" in line for line in said), said
        assert server.context == 1024
        assert await server.structured_outputs()
        with pytest.raises(ServerError, match="another API key"):
            await attach(server.base_url)

        # A shared prompt prefix is computed once.
        before = await server.metrics()
        opening = Message("system", "You name colours. " * 60)
        lm = server.lm(max_tokens=8)
        colours = Constraint("grammar", 'root ::= "red" | "green"')
        for thing in ("grass", "blood", "moss", "a ruby"):
            request = Request(lm, (opening, Message("user", thing)), colours)
            assert (await runtime.acomplete(request)).text in ("red", "green")
        span = await server.metrics() - before
        assert span.requests == {"small": 4}
        assert span.generation_tokens > 0
        assert 0.5 < span.prefix_share < 1

        # An adapter of zeros answers like its model, under its own name.
        zeros = make_adapter(tmp_path / "zeros", model)
        for _ in range(2):
            await server.load_adapter("zeros", zeros)
        question = (Message("user", "Say a word."),)
        plain = await runtime.acomplete(Request(lm, question))
        adapted = await runtime.acomplete(Request(lm.with_adapter("zeros"), question))
        assert adapted.text == plain.text
        assert (await server.metrics()).adapters == {"zeros"}
        assert [model.parent for model in await server.models()] == [None, "small"]
        ones = make_adapter(tmp_path / "ones", model, fill=1)
        await server.load_adapter("zeros", ones)  # another folder gets the same name
        changed = await runtime.acomplete(Request(lm.with_adapter("zeros"), question, sample=1))
        assert changed.text != plain.text
        await server.unload_adapter("zeros")
        assert len(await server.models()) == 1
        with pytest.raises(ServerError, match="rank=16"):
            await server.load_adapter("wide", make_adapter(tmp_path / "wide", model, rank=16))

        assert server.pid is not None
        assert server.log is not None
        watched = [os.pidfd_open(pid) for pid in processes_of(server.pid)]
        assert len(watched) >= 2
        log = server.log
    await runtime.aclose()
    assert wait_for_end(watched)
    assert "sesame" not in log.read_text()


async def test_each_call_goes_to_its_own_adapter(model: str, tmp_path: Path) -> None:
    spec = ServerSpec(
        model=model,
        name="small",
        context=512,
        adapters=AdapterLimits(rank=RANK, count=2),
        args=(*ON_CPU, "--enable-log-requests"),
        env=ENV,
    )
    served = ServedLMs(Fleet({"vllm/small": spec}, devices=[]))
    runtime = Runtime(servers=served)
    for name, fill in (("route-1", 1), ("details-2", 3)):
        served.add_adapter(name, make_adapter(tmp_path / name, model, fill=fill))
    small, question = LM("vllm/small", max_tokens=8), Message("user", "Say a word.")
    names = ["route-1", "details-2", None, "route-1"]
    texts = []
    for sample, name in enumerate(names):
        request = Request(small.with_adapter(name), (question,), sample=sample)
        texts.append((await runtime.acomplete(request)).text)
    async with served.fleet.use("vllm/small") as server:
        assert (await server.metrics()).adapters == {"route-1", "details-2"}
        assert server.log is not None
        log = server.log.read_text()
    await runtime.aclose()
    received = [line for line in log.splitlines() if "Received request chatcmpl" in line]
    found = [re.search(r"lora_name='([^']+)'", line) for line in received]
    assert [one and one[1] for one in found] == names
    assert len(set(texts)) == 3
    assert texts[0] == texts[3]


def test_a_server_ends_when_its_owner_is_killed(model: str) -> None:
    code = OWNER.replace("ARGS", repr(ON_CPU)).replace("ENV", repr(ENV))
    command = [sys.executable, "-c", code, model]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        watched = [os.pidfd_open(one) for one in processes_of(pid)]
        assert len(watched) >= 2
        owner.send_signal(signal.SIGKILL)
    assert wait_for_end(watched)


def test_an_unknown_flag_of_vllm_is_reported(model: str) -> None:
    spec = ServerSpec(model=model, args=("--guided-decoding-backend", "x"), env=ENV)
    with pytest.raises(ServerError, match="no such flag"):
        asyncio.run(start_server(spec))
