"""vLLM on the CPU with an LM that follows instructions: tools, constraints, streams, samples.

Needs vLLM (`make environments`). `LMPIPE_QWEN` is the folder of Qwen2.5-Coder-0.5B-Instruct in
Hugging Face's form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Literal

import pytest
from helpers.provider_servers.every import covers_real

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.concurrency import loop
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.request import Request
from lmpipe.serving import ServerSpec, start_server
from lmpipe.serving.find import find_vllm
from lmpipe.settings import current_settings

pytestmark = pytest.mark.real

ROW = ("vLLM's own server, on the CPU", "Qwen2.5-Coder-0.5B-Instruct")
ARGS = (
    *("--dtype", "bfloat16", "--enforce-eager", "--block-size", "32", "--max-num-seqs", "4"),
    *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
)
WEATHER = ToolSpec(
    "get_weather",
    "Get the weather in a city.",
    '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}',
)


class Route(lmpipe.Signature):
    """Which team answers the ticket?"""

    ticket: str = lmpipe.Input()
    team: Literal["billing", "shipping", "technical"] = lmpipe.Output()


@pytest.fixture(scope="module")
def lm() -> Iterator[lmpipe.LM]:
    folder = os.environ.get("LMPIPE_QWEN")
    if folder is None:
        pytest.skip("LMPIPE_QWEN does not name the LM's folder")
    try:
        find_vllm()
    except ConfigError as error:
        pytest.skip(str(error).splitlines()[0])
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    spec = ServerSpec(model=folder, name="qwen", context=2048, args=ARGS, env=env)
    server = loop.run_sync(start_server(spec))
    yield server.lm()
    loop.run_sync(server.stop())


@covers_real(ROW, "call")
def test_a_program_is_called(lm: lmpipe.LM) -> None:
    result = lmpipe.Predict(Route, lm=lm)(ticket="My invoice shows the wrong amount.")
    assert result.team == "billing"


@covers_real(ROW, "structured")
@pytest.mark.parametrize("layout", ["chat", "json"])
def test_outputs_are_constrained(lm: lmpipe.LM, layout: str) -> None:
    program = lmpipe.Predict(Route, lm=lm, layout=layout, constrained=True, retries=0)
    assert program(ticket="?").team in ("billing", "shipping", "technical")


@covers_real(ROW, "stream")
def test_a_reply_is_streamed(lm: lmpipe.LM) -> None:
    program = lmpipe.Predict("question -> answer", lm=lm)
    stream = program.stream(question="What is the capital of France?")
    assert len([partial.text for partial in stream]) > 1
    assert "Paris" in stream.result.answer


@covers_real(ROW, "samples")
def test_samples_are_drawn(lm: lmpipe.LM) -> None:
    program = lmpipe.Predict("topic -> three_words", lm=lm)
    assert len(program.samples(2, topic="the sea")) == 2


@covers_real(ROW, "tools")
@pytest.mark.parametrize("choice", ["required", "get_weather"])
def test_a_tool_is_called(lm: lmpipe.LM, choice: str) -> None:
    question = Message("user", "What is the weather in Paris now?")
    asked = Request(lm, (question,), tools=(WEATHER,), tool_choice=choice)
    (call,) = current_settings().runtime.complete(asked).tool_calls
    assert call.name == "get_weather"
    assert json.loads(call.arguments) == {"city": "Paris"}
