"""Every provider: lmpipe and the real litellm against servers that refuse what the real ones do.

`make providers-table` runs these tests, and writes from their results what works where.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from helpers.provider_servers.every import Provider, covers
from helpers.provider_servers.server import ProviderServer
from helpers.world import recipe, things

import lmpipe
from lmpipe.errors import LMRequestError
from lmpipe.lm.message import Message
from lmpipe.lm.providers import open_provider
from lmpipe.lm.request import Request
from lmpipe.metrics import exact_match

# What litellm itself does is not under test.
pytestmark = pytest.mark.filterwarnings("ignore")


class Tell(lmpipe.Signature):
    """Answer the question."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


class Sort(lmpipe.Signature):
    """Sort the things."""

    things: str = lmpipe.Input()
    size: Literal["small", "large"] = lmpipe.Output()
    names: list[str] = lmpipe.Output()


@pytest.fixture
def server(provider: Provider) -> Iterator[ProviderServer]:
    pytest.importorskip("litellm")
    with provider.server() as server:
        yield server


@pytest.fixture
def lm(provider: Provider, server: ProviderServer) -> lmpipe.LM:
    """The LM by its name, with nothing else set."""
    return provider.lm(server)


@covers("call")
def test_a_program_is_called(lm: lmpipe.LM) -> None:
    result = lmpipe.Predict(Sort, lm=lm)(things="apples")
    assert result.size == "small"
    assert result.names[0].startswith("Look")


@covers("call")
def test_the_usage_is_counted(lm: lmpipe.LM) -> None:
    row = lmpipe.Example(question="Why?", answer="So.").with_inputs("question")
    evaluated = lmpipe.evaluate(lmpipe.Predict(Tell), [row], exact_match("answer"), lm=lm)
    assert evaluated.usage.prompt_tokens > 5
    assert evaluated.usage.completion_tokens > 5


@covers("samples")
def test_samples_differ(lm: lmpipe.LM) -> None:
    samples = lmpipe.Predict(Tell, lm=lm).samples(3, question="Why?")
    assert len({sample.answer for sample in samples}) == 3


@covers("stream")
def test_a_reply_is_streamed(lm: lmpipe.LM) -> None:
    stream = lmpipe.Predict(Tell, lm=lm).stream(question="Why?")
    shown = [partial.text for partial in stream]
    assert len(shown) > 2
    assert shown[-1] == stream.result.answer


@covers("stream")
async def test_a_stream_counts_its_usage(lm: lmpipe.LM) -> None:
    asked = Request(lm, (Message("user", "Why is it so?"),))
    provider = open_provider(lm)
    reply = await provider.stream(asked, lambda text: None)
    await provider.aclose()
    assert reply.usage.prompt_tokens == 4
    assert reply.usage.completion_tokens > 5


@covers("structured")
def test_outputs_are_constrained(server: ProviderServer, lm: lmpipe.LM) -> None:
    program = lmpipe.Predict(Sort, lm=lm, layout="json", constrained=True)
    assert program(things="apples").size in ("small", "large")
    asked = server.questions[-1]
    # litellm asks models without such outputs for the call of a tool.
    schema = asked.schema or (asked.tools or {})[asked.must_call]
    assert list(schema["properties"]) == ["size", "names"]


@covers("wrong key", but=("ollama_chat/llama3.1",))
def test_a_wrong_key_is_told(provider: Provider, server: ProviderServer) -> None:
    lm = provider.lm(server, api_key="sk-wrong-9876543210")
    with pytest.raises(LMRequestError, match="api_key") as caught:
        lmpipe.Predict(Tell, lm=lm)(question="Why?")
    assert caught.value.status in (400, 401, 403)
    assert "9876543210" not in str(caught.value)


OPTIMIZERS = {
    "COPRO": lmpipe.COPRO(breadth=2, depth=1, examples=4, shown=2),
    "GEPA": lmpipe.GEPA(runs=40),
}


def compiled(name: str, lm: lmpipe.LM, runs: Path) -> lmpipe.Run:
    """Compile the small world's program, with one LM in all roles."""
    made = recipe(
        train=things(8),
        val=things(8, seed=1, start=100),
        test=None,
        optimizer=OPTIMIZERS[name],
        student=lm,
    )
    return lmpipe.compile(made, runs=runs)


@covers("COPRO")
def test_copro_compiles(tmp_path: Path, server: ProviderServer, lm: lmpipe.LM) -> None:
    run = compiled("COPRO", lm, tmp_path)
    assert "Look at the thing well" in instruction(run)
    assert not server.refused


@covers("GEPA")
def test_gepa_compiles(tmp_path: Path, server: ProviderServer, lm: lmpipe.LM) -> None:
    run = compiled("GEPA", lm, tmp_path)
    assert "Look at the thing well" in instruction(run)
    assert not server.refused


def instruction(run: lmpipe.Run) -> str:
    (state,) = run.state.predictors.values()
    return state.instruction or ""
