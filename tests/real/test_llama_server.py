"""llama.cpp's HTTP server with an LM that follows instructions: lmpipe over its OpenAI API.

Needs the weights of Qwen2.5-Coder-0.5B-Instruct, in any quantization, at `MODEL`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from helpers.provider_servers.every import covers_real

import lmpipe
from lmpipe.lm.message import Message
from lmpipe.lm.providers import open_provider
from lmpipe.lm.request import Request

pytestmark = pytest.mark.real

MODEL = Path.home() / ".cache" / "lmpipe-models" / "qwen-0.5b.gguf"
KEY = "sk-of-the-server"
ROW = ("llama.cpp's own server", "Qwen2.5-Coder-0.5B-Instruct")


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
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.api_keys = [KEY]
    params.ui = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    lm = lmpipe.LM("openai/qwen", base_url=f"{server.listening_address}/v1", api_key=KEY)
    asyncio.run(_started(lm))
    yield lm
    del server


async def _started(lm: lmpipe.LM) -> None:
    """Wait for a first answer: freeing a server that has not started waits forever."""
    provider = open_provider(lm)
    await provider.complete(Request(lm.with_settings(max_tokens=1), (Message("user", "hi"),)))
    await provider.aclose()


@covers_real(ROW, "call")
def test_a_program_is_called(lm: lmpipe.LM) -> None:
    result = lmpipe.Predict(Route, lm=lm)(ticket="My invoice shows the wrong amount.")
    assert result.team == "billing"


@covers_real(ROW, "stream")
def test_a_reply_is_streamed(lm: lmpipe.LM) -> None:
    program = lmpipe.Predict("question -> answer", lm=lm)
    stream = program.stream(question="What is the capital of France?")
    shown = [partial.text for partial in stream]
    assert len(shown) > 1
    assert "Paris" in stream.result.answer


@covers_real(ROW, "samples")
def test_samples_are_drawn_although_the_server_has_one_slot(lm: lmpipe.LM) -> None:
    program = lmpipe.Predict("topic -> three_words", lm=lm)
    assert len(program.samples(2, topic="the sea")) == 2


@covers_real(ROW, "structured")
@pytest.mark.parametrize("layout", ["chat", "json"])
def test_outputs_are_constrained(lm: lmpipe.LM, layout: str) -> None:
    program = lmpipe.Predict(Route, lm=lm, layout=layout, constrained=True, retries=0)
    assert program(ticket="?").team in ("billing", "shipping", "technical")


@covers_real(ROW, "wrong key")
def test_a_wrong_key_is_told(lm: lmpipe.LM) -> None:
    assert lm.base_url is not None
    wrong = lm.at(lm.base_url, api_key="sk-wrong-9876543210")
    with pytest.raises(lmpipe.errors.LMRequestError, match="api_key"):
        lmpipe.Predict(Route, lm=wrong)(ticket="x")
