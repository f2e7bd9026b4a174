"""OpenRouter's `reasoning_details` come back in later turns as they were, and go nowhere else."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import pytest
from helpers.recording_server import RecordingServer, recording
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ReasoningPart, TextPart
from lmpipe.lm.providers.openai_turns import openai_turns
from lmpipe.lm.providers.reasoning_details import (
    join_details,
    reasoning_details,
    signature_of_details,
)
from lmpipe.lm.read_messages import read_messages
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime

DETAILS: list[dict[str, Any]] = [
    {
        "type": "reasoning.text",
        "text": "I think",
        "signature": "c2ln",
        "format": "anthropic-claude-v1",
        "id": None,
        "index": 0,
    },
    {
        "type": "reasoning.encrypted",
        "data": "eHl6",
        "format": "anthropic-claude-v1",
        "id": "r1",
        "index": 1,
    },
]
MESSAGE = {"content": "a", "reasoning": "I think", "reasoning_details": DETAILS}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1}
WHOLE = {"choices": [{"message": MESSAGE, "finish_reason": "stop"}], "usage": USAGE}
HI = Message("user", "hi")


def at_openrouter() -> LM:
    return LM("openai/anthropic/claude-opus-4.5", base_url="https://openrouter.ai/api/v1")


def turns(lm: LM, reply: Reply) -> dict[str, Any]:
    said = Message("assistant", (ReasoningPart(reply.reasoning, reply.signature), TextPart("a")))
    return openai_turns(Request(lm, (HI, said, Message("user", "Go on."))))[1]


async def ask(server: RecordingServer, model: str = "openai/m", *, streamed: bool) -> Reply:
    lm = LM(model, base_url=f"{server.url}/v1", api_key="sk-own")
    texts: list[str] = []
    on_text = texts.append if streamed else None
    return await Runtime().acomplete(Request(lm, (HI,)), on_text=on_text)


def streamed_pieces() -> list[Any]:
    text, encrypted = DETAILS
    deltas = [
        {"reasoning": "I ", "reasoning_details": [{**text, "text": "I ", "signature": None}]},
        {"reasoning": "think", "reasoning_details": [{**text, "text": "think", "signature": None}]},
        {"reasoning_details": [{**text, "text": ""}, encrypted]},
        {"content": "a"},
    ]
    chunks: list[Any] = [{"choices": [{"delta": delta}]} for delta in deltas]
    return [*chunks, {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": USAGE}]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_details_go_back_as_they_came(streamed: bool) -> None:
    async with recording(streamed_pieces() if streamed else WHOLE) as server:
        reply = await ask(server, streamed=streamed)
    assert reply.reasoning == "I think"
    assert turns(at_openrouter(), reply) == {
        "role": "assistant",
        "content": "a",
        "reasoning_details": DETAILS,
    }


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed")
@pytest.mark.filterwarnings("ignore")  # what litellm itself does is not under test
async def test_details_go_back_through_litellm() -> None:
    async with recording(WHOLE) as server:
        reply = await ask(server, "openrouter/anthropic/claude-opus-4.5", streamed=False)
        lm = LM(
            "openrouter/anthropic/claude-opus-4.5", base_url=f"{server.url}/v1", api_key="sk-own"
        )
        said = Message(
            "assistant", (ReasoningPart(reply.reasoning, reply.signature), TextPart("a"))
        )
        await Runtime().acomplete(Request(lm, (HI, said, Message("user", "Go on."))))
    assert server.body["messages"][1]["reasoning_details"] == DETAILS


async def test_details_go_to_no_other_server() -> None:
    async with recording(WHOLE) as server:
        reply = await ask(server, streamed=False)
    assert turns(LM("openai/gpt-5.1"), reply) == {"role": "assistant", "content": "a"}


def test_details_are_no_blocks_of_another_provider() -> None:
    part = ReasoningPart("I think", signature_of_details(DETAILS))
    said = Message("assistant", (part, TextPart("a")))
    request = Request(LM("anthropic/claude-opus-4-5", api_key="sk-own"), (HI, said))
    assert "thinking_blocks" not in openai_turns(request, "litellm")[1]


def test_blocks_of_another_provider_are_no_details() -> None:
    block = json.dumps([{"type": "thinking", "thinking": "hm", "signature": "c2ln"}])
    for signature in ("c2ln", "[c2ln", block, ""):
        assert reasoning_details([ReasoningPart("hm", signature)]) == []


@given(st.lists(st.text(max_size=5), min_size=1, max_size=8))
def test_pieces_of_a_text_are_joined(pieces: list[str]) -> None:
    joined = join_details(
        [{"type": "reasoning.text", "index": 0, "text": piece} for piece in pieces]
    )
    assert joined == [{"type": "reasoning.text", "index": 0, "text": "".join(pieces)}]


def test_pieces_of_other_details_are_kept_apart() -> None:
    pieces = [
        {"type": "reasoning.summary", "index": 0, "summary": "a"},
        {"type": "reasoning.summary", "index": 1, "summary": "b"},
        {"type": "reasoning.encrypted", "index": 1, "data": "c"},
    ]
    assert join_details(pieces) == pieces


def test_a_thought_of_anthropic_without_its_signature_is_left_out() -> None:
    text, encrypted = DETAILS
    signature = signature_of_details([{**text, "signature": None}, encrypted])
    assert reasoning_details([ReasoningPart("I think", signature)]) == [encrypted]


def test_a_turn_in_openais_format_may_have_them() -> None:
    (message,) = read_messages([{"role": "assistant", **MESSAGE}])
    turn = openai_turns(Request(at_openrouter(), (HI, message)))[1]
    assert turn == {"role": "assistant", "content": "a", "reasoning_details": DETAILS}
