"""LiteLLM's proxy, in front of the local servers of OpenAI and Anthropic.

Needs an environment with `litellm[proxy]`: `LMPIPE_LITELLM_PROXY` is the path of its `litellm`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from helpers.provider_servers.anthropic_server import AnthropicServer
from helpers.provider_servers.every import covers_real
from helpers.provider_servers.openai_server import OpenAIServer

import lmpipe
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.request import Request
from lmpipe.settings import current_settings

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

ROW = ("LiteLLM's own proxy", "gpt-5.1 and claude-opus-4-5 behind it")
KEY = "sk-of-the-proxy"

both = pytest.mark.parametrize("model", ["openai/gpt", "openai/claude"])


class Sort(lmpipe.Signature):
    """Sort the things."""

    things: str = lmpipe.Input()
    size: Literal["small", "large"] = lmpipe.Output()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = os.environ.get("LMPIPE_LITELLM_PROXY")
    if command is None:
        pytest.skip("LMPIPE_LITELLM_PROXY does not name the proxy's command")
    folder = tmp_path_factory.mktemp("proxy")
    with OpenAIServer() as openai, AnthropicServer() as anthropic:
        behind = {
            "gpt": {"model": "openai/gpt-5.1", "api_base": openai.url, "api_key": openai.key},
            "claude": {
                "model": "anthropic/claude-opus-4-5",
                "api_base": anthropic.url,
                "api_key": anthropic.key,
            },
        }
        models = [{"model_name": name, "litellm_params": made} for name, made in behind.items()]
        config = folder / "config.yaml"  # JSON is YAML too
        config.write_text(
            json.dumps({"model_list": models, "general_settings": {"master_key": KEY}})
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        yield from _serve(command, config, port)


def _serve(command: str, config: Path, port: int) -> Iterator[str]:
    offline = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    }
    with subprocess.Popen(
        [command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, **offline},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=config.parent,
        text=True,
    ) as proxy:
        assert proxy.stdout is not None
        said = []
        for line in proxy.stdout:
            said.append(line)
            if "running on" in line:
                break
        else:
            pytest.fail(f"the proxy did not start: {''.join(said[-9:])}")
        rest = threading.Thread(target=proxy.stdout.read, daemon=True)  # it must not fill up
        rest.start()
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            proxy.terminate()
            rest.join()


@pytest.fixture
def lm(model: str, address: str) -> lmpipe.LM:
    return lmpipe.LM(model, base_url=address, api_key=KEY)


@both
@covers_real(ROW, "call")
def test_a_program_is_called(lm: lmpipe.LM) -> None:
    assert lmpipe.Predict(Sort, lm=lm)(things="apples").size == "small"


@both
@covers_real(ROW, "structured")
def test_outputs_are_constrained(lm: lmpipe.LM) -> None:
    program = lmpipe.Predict(Sort, lm=lm, layout="json", constrained=True)
    assert program(things="apples").size in ("small", "large")


@both
@covers_real(ROW, "stream")
def test_a_reply_is_streamed(lm: lmpipe.LM) -> None:
    stream = lmpipe.Predict("question -> answer", lm=lm).stream(question="Why?")
    assert len([partial.text for partial in stream]) > 2
    assert stream.result.answer


@both
@covers_real(ROW, "samples")
def test_samples_differ(lm: lmpipe.LM) -> None:
    samples = lmpipe.Predict("question -> answer", lm=lm).samples(3, question="Why?")
    assert len({sample.answer for sample in samples}) == 3


@both
@covers_real(ROW, "tools")
def test_a_tool_is_called(lm: lmpipe.LM) -> None:
    tool = ToolSpec("look_up", "Look a word up.", '{"type":"object","properties":{}}')
    asked = Request(lm, (Message("user", "Use look_up for the word."),), tools=(tool,))
    reply = current_settings().runtime.complete(asked)
    assert [call.name for call in reply.tool_calls] == ["look_up"]
