"""llama.cpp's HTTP server with an LM that follows instructions: lmpipe over its OpenAI API.

Needs the weights of Qwen2.5-0.5B-Instruct, in any quantization, at `MODEL`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from helpers.provider_servers.every import covers_real

import lmpipe
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.providers import open_provider
from lmpipe.lm.request import Reply, Request

pytestmark = pytest.mark.real

MODEL = Path.home() / ".cache" / "lmpipe-models" / "qwen-0.5b.gguf"
KEY = "sk-of-the-server"
TITLE = "llama.cpp's server, Qwen2.5-0.5B-Instruct"

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
    xllamacpp = pytest.importorskip("xllamacpp")
    if not MODEL.exists():
        pytest.skip(f"no weights at {MODEL}")
    params = xllamacpp.CommonParams()
    params.model.path = str(MODEL)
    params.n_ctx = 4096
    params.n_parallel = 1
    params.api_keys = [KEY]
    params.ui = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    lm = lmpipe.LM("openai/qwen", base_url=f"{server.listening_address}/v1", api_key=KEY)
    asyncio.run(_ask(lm, "hi", max_tokens=1))  # freeing a server that has not started waits forever
    yield lm
    del server


async def _ask(lm: lmpipe.LM, text: str, *, max_tokens: int = 200, **asked: object) -> Reply:
    provider = open_provider(lm)
    lm = lm.with_settings(max_tokens=max_tokens)
    try:
        return await provider.complete(Request(lm, (Message("user", text),), **asked))  # type: ignore[arg-type]
    finally:
        await provider.aclose()


@covers_real("call", TITLE)
def test_a_program_is_called(lm: lmpipe.LM) -> None:
    result = lmpipe.Predict(Route, lm=lm)(ticket="Where is my parcel? It should have come today.")
    assert result.team == "shipping"


@covers_real("stream", TITLE)
def test_a_reply_is_streamed(lm: lmpipe.LM) -> None:
    stream = lmpipe.Predict("question -> answer", lm=lm).stream(
        question="What is the capital of France?"
    )
    shown = [partial.text for partial in stream]
    assert len(shown) > 1
    assert "Paris" in stream.result.answer


@covers_real("samples", TITLE)
def test_samples_are_drawn(lm: lmpipe.LM) -> None:
    program = lmpipe.Predict("topic -> poem", lm=lm)
    samples = program.samples(3, topic="the sea")
    assert len({sample.poem for sample in samples}) > 1


@covers_real("structured", TITLE)
@pytest.mark.parametrize("layout", ["chat", "json"])
def test_outputs_are_constrained(lm: lmpipe.LM, layout: str) -> None:
    program = lmpipe.Predict(Route, lm=lm, layout=layout, constrained=True, retries=0)
    tickets = ["My invoice is wrong.", "The app crashes when I log in.", "hello", "?", "Wo ist es?"]
    assert len(program.batch([{"ticket": ticket} for ticket in tickets])) == len(tickets)


@covers_real("tools", TITLE)
async def test_a_tool_is_called(lm: lmpipe.LM) -> None:
    reply = await _ask(lm, "What is the weather in Paris now?", tools=(WEATHER,))
    (call,) = reply.tool_calls
    assert call.name == "get_weather"
    assert json.loads(call.arguments) == {"city": "Paris"}


@covers_real("wrong key", TITLE)
def test_a_wrong_key_is_told(lm: lmpipe.LM) -> None:
    assert lm.base_url is not None
    wrong = lm.at(lm.base_url, api_key="sk-wrong-9876543210")
    with pytest.raises(lmpipe.errors.LMRequestError, match="api_key"):
        lmpipe.Predict(Route, lm=wrong)(ticket="x")
