"""Every provider: lmpipe and the real litellm against servers that refuse what the real ones do.

`make providers-table` runs these tests, and writes from their results what works where.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers.provider_servers.every import CODER, QWEN3, Provider, covers
from helpers.provider_servers.model import FORBIDDEN, LENGTHY
from helpers.provider_servers.server import ProviderServer
from helpers.world import recipe, things

import lmpipe
from lmpipe.errors import LMRequestError, RefusalError
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, ReasoningPart, TextPart, ToolResult, ToolSpec
from lmpipe.lm.providers.base import OnText
from lmpipe.lm.request import Reply, Request
from lmpipe.metrics import exact_match
from lmpipe.settings import current_settings
from lmpipe.state.program_state import ProgramState

# A picture of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
OLLAMA = ("ollama_chat/llama3.1", "ollama_chat/qwen3")
PLAIN_MISTRAL = ("mistral/mistral-large-latest", "openai/mistral-large-latest")
MISTRAL = (*PLAIN_MISTRAL, "mistral/magistral-medium-latest")
RESPONSES = "openai/o3-pro"
NOVA, CODING = "bedrock/us.amazon.nova-pro-v1:0", f"openai/{CODER}"
NO_THOUGHTS = ("openai/gpt-4o-mini", NOVA, *PLAIN_MISTRAL, OLLAMA[0], CODING)
ALWAYS_THINK = ("openai/o3", RESPONSES, "gemini/gemini-2.5-pro", MISTRAL[2])
# Models without a filter of their provider, which decline in their own words.
OPEN = (*MISTRAL, *OLLAMA, f"vllm/{QWEN3}", f"openai/{QWEN3}", CODING)
# litellm drops what these decline with: the Responses API's refusals, and OpenRouter's in streams.
DROPPED = (RESPONSES,)
DROPPED_IN_STREAMS = (RESPONSES, "openrouter/openai/gpt-5.1")
NO_CACHE = (*MISTRAL, *OLLAMA, NOVA)  # they tell of none, or want no marks

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
    if find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
    with provider.server() as server:
        yield server


@pytest.fixture
def lm(provider: Provider, server: ProviderServer) -> lmpipe.LM:
    """The LM by its name, with nothing else set."""
    return provider.lm(server)


def ask(lm: lmpipe.LM, *messages: Message, on_text: OnText | None = None, **asked: Any) -> Reply:
    request = Request(lm, messages, **asked)
    return current_settings().runtime.complete(request, on_text=on_text)


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


@covers("call")
def test_a_cut_reply_is_told(server: ProviderServer, lm: lmpipe.LM) -> None:
    reply = ask(lm.with_settings(max_tokens=20), Message("user", LENGTHY))
    assert server.answers[-1].cut
    assert reply.finish == "length"
    assert reply.text == server.answers[-1].text


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
def test_a_stream_counts_its_usage(lm: lmpipe.LM) -> None:
    reply = ask(lm, Message("user", "Why is it so?"), on_text=lambda text: None)
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


@covers("wrong key", but=OLLAMA)
def test_a_wrong_key_is_told(provider: Provider, server: ProviderServer) -> None:
    lm = provider.lm(server, api_key="sk-wrong-9876543210")
    with pytest.raises(LMRequestError, match="api_key") as caught:
        lmpipe.Predict(Tell, lm=lm)(question="Why?")
    assert caught.value.status in (400, 401, 403)
    assert "9876543210" not in str(caught.value)


@covers("refusal", but=(*OPEN, *DROPPED))
def test_a_refusal_is_told(lm: lmpipe.LM) -> None:
    with pytest.raises(RefusalError, match="declined"):
        lmpipe.Predict(Tell, lm=lm)(question=FORBIDDEN)


@covers("refusal", but=(*OPEN, *DROPPED_IN_STREAMS))
def test_a_refusal_in_a_stream_is_told(lm: lmpipe.LM) -> None:
    with pytest.raises(RefusalError, match="declined"):
        list(lmpipe.Predict(Tell, lm=lm).stream(question=FORBIDDEN))


LOOK_UP = ToolSpec(
    "look_up", "Look a word up.", '{"type":"object","properties":{"word":{"type":"string"}}}'
)


def turn_of(reply: Reply) -> Message:
    """A reply as a turn of the conversation that goes on."""
    thoughts = [ReasoningPart(reply.reasoning, reply.signature)] if reply.reasoning else []
    texts = [TextPart(reply.text)] if reply.text else []
    return Message("assistant", (*thoughts, *texts, *reply.tool_calls))


@covers("tools")
def test_a_tool_is_called_and_its_result_understood(server: ProviderServer, lm: lmpipe.LM) -> None:
    question = Message("user", "Use look_up for the word.")
    called = ask(lm, question, tools=(LOOK_UP,))
    (call,) = called.tool_calls
    assert (called.finish, call.name) == ("tool_calls", "look_up")
    assert "word" in json.loads(call.arguments)
    result = Message("tool", (ToolResult(call.id, "it means so"),))
    answered = ask(lm, question, turn_of(called), result, tools=(LOOK_UP,))
    assert "it means so" in server.questions[-1].prompt
    assert answered.text
    assert not answered.tool_calls


@covers("tools")
def test_a_tool_call_is_streamed(lm: lmpipe.LM) -> None:
    question = Message("user", "Use look_up for the word.")
    reply = ask(lm, question, tools=(LOOK_UP,), on_text=lambda text: None)
    (call,) = reply.tool_calls
    assert call.name == "look_up"
    assert "word" in json.loads(call.arguments)


@covers("tools", but=OLLAMA)  # its API has no tool_choice
def test_a_tool_can_be_forced(server: ProviderServer, lm: lmpipe.LM) -> None:
    reply = ask(lm, Message("user", "hi"), tools=(LOOK_UP,), tool_choice="look_up")
    assert [call.name for call in reply.tool_calls] == ["look_up"]


def look_up(word: str) -> str:
    """Look a word up."""
    return "it means so; call finish"


def earlier_step(agent: lmpipe.ReAct[..., Tell]) -> ProgramState:
    """A state with a demonstration of an agent that has called two tools in one turn."""
    action = {"tool": "look_up", "arguments": {"word": "so"}, "observation": "thus"}
    step = {"thought": "Both.", "actions": [action, {**action, "error": True}]}
    demo = lmpipe.Demo(
        inputs={"question": "So?", "trajectory": {"steps": [step]}},
        outputs={"next_thought": "", "next_tool": "finish", "next_args": {"answer": "thus"}},
    )
    state = agent.state()
    return state.replace(act=state["act"].replace(demos=(demo,)))


@covers("tools")
def test_an_agent_calls_tools(provider: Provider, server: ProviderServer, lm: lmpipe.LM) -> None:
    agent = lmpipe.ReAct(Tell, [look_up], protocol="native", lm=lm)
    result = agent.bind(earlier_step(agent))(question="Use look_up for the word.")
    trajectory = lmpipe.trajectory_of(result)
    assert [action.tool for action in trajectory.actions] == ["look_up", "finish"]
    assert trajectory.finished
    assert "it means so" in server.questions[-1].prompt
    assert not server.refused or provider.learns


@covers("tools", but=NO_THOUGHTS)
def test_an_agent_thinks_before_it_calls_tools(provider: Provider, server: ProviderServer) -> None:
    lm = provider.lm(server, reasoning="low")
    agent = lmpipe.ReAct(Tell, [look_up], protocol="native", lm=lm)
    result = agent(question="Use look_up for the word.")
    assert lmpipe.trajectory_of(result).finished
    assert not server.refused


@covers("images")
def test_an_image_arrives(server: ProviderServer, lm: lmpipe.LM) -> None:
    image = MediaPart("image", "image/png", PIXEL)
    reply = ask(lm, Message("user", (TextPart("What is it?"), image)))
    assert server.questions[-1].media == 1
    assert "after a look at 1 media" in reply.text


@covers("reasoning", but=NO_THOUGHTS)
def test_a_model_thinks_when_asked(provider: Provider, server: ProviderServer) -> None:
    reply = ask(provider.lm(server, reasoning="low"), Message("user", "Why?"))
    assert server.answers[-1].thoughts
    assert reply.text == server.answers[-1].text
    assert reply.reasoning or reply.usage.reasoning_tokens > 0


@covers("reasoning", but=(*NO_THOUGHTS, *ALWAYS_THINK))
def test_thoughts_can_be_off(provider: Provider, server: ProviderServer) -> None:
    reply = ask(provider.lm(server, reasoning="none"), Message("user", "Why?"))
    assert not server.answers[-1].thoughts
    assert not reply.reasoning


@covers("reasoning", but=NO_THOUGHTS)
def test_thoughts_have_a_budget(provider: Provider, server: ProviderServer) -> None:
    ask(provider.lm(server, reasoning=2000), Message("user", "Why?"))
    assert server.answers[-1].thoughts


@covers("reasoning", but=NO_THOUGHTS)
def test_a_tool_is_called_after_thoughts(provider: Provider, server: ProviderServer) -> None:
    lm = provider.lm(server, reasoning="low")
    question = Message("user", "Use look_up for the word.")
    called = ask(lm, question, tools=(LOOK_UP,))
    result = Message("tool", (ToolResult(called.tool_calls[0].id, "it means so"),))
    answered = ask(lm, question, turn_of(called), result, tools=(LOOK_UP,))
    assert answered.text
    assert not server.refused


@covers("prompt cache", but=NO_CACHE)
def test_the_stable_prefix_is_cached(lm: lmpipe.LM) -> None:
    rows = [
        lmpipe.Example(question=question, answer="So.").with_inputs("question")
        for question in ("Why?", "When?")
    ]
    program, metric = lmpipe.Predict(Tell), exact_match("answer")
    usage = lmpipe.evaluate(program, rows, metric, lm=lm, concurrency=1).usage
    assert 0 < usage.cached_prompt_tokens < usage.prompt_tokens


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
def test_copro_compiles(
    tmp_path: Path, provider: Provider, server: ProviderServer, lm: lmpipe.LM
) -> None:
    run = compiled("COPRO", lm, tmp_path)
    assert "Look at the thing well" in instruction(run)
    assert not server.refused or provider.learns


@covers("GEPA")
def test_gepa_compiles(
    tmp_path: Path, provider: Provider, server: ProviderServer, lm: lmpipe.LM
) -> None:
    run = compiled("GEPA", lm, tmp_path)
    assert "Look at the thing well" in instruction(run)
    assert not server.refused or provider.learns


def instruction(run: lmpipe.Run) -> str:
    (state,) = run.state.predictors.values()
    return state.instruction or ""
