"""Parts through the real litellm: what providers get, and what comes back of their replies."""

from __future__ import annotations

from base64 import b64encode
from importlib.util import find_spec
from typing import Any

import pytest
from helpers.recording_server import RecordingServer, recording

from lmpipe.errors import ConfigError
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.parts import (
    DocumentPart,
    MediaPart,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from lmpipe.lm.providers.litellm_provider import LiteLLMProvider
from lmpipe.lm.request import Quote, Reply, Request
from lmpipe.state.usage import Usage

pytestmark = [
    pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed"),
    pytest.mark.filterwarnings("ignore"),  # what litellm itself does is not under test
]

CLAUDE, GEMINI = "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"
DEEPSEEK, MOONSHOT = "deepseek/deepseek-chat", "moonshot/kimi-k2-0711-preview"

PICTURE = MediaPart("image", "image/png", b"png")
SOUND = MediaPart("audio", "audio/wav", b"wav")
PAGE = MediaPart("file", "application/pdf", b"pdf", name="page.pdf")
CALL = ToolCall("t1", "look", '{"at":"a"}')
TOOL = ToolSpec("look", "Look.", '{"properties":{"at":{"type":"string"}},"type":"object"}')
PARAMETERS = {"type": "object", "properties": {"at": {"type": "string"}}}

PNG, WAV, PDF = (b64encode(data).decode() for data in (b"png", b"wav", b"pdf"))

ANTHROPIC_REPLY: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "stop_reason": "tool_use",
    "usage": {
        "input_tokens": 5,
        "output_tokens": 9,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 7,
    },
    "content": [
        {"type": "thinking", "thinking": "I think", "signature": "c2ln"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "a"}},
        {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
    ],
}
GEMINI_PARTS: list[dict[str, Any]] = [
    {"text": "I think", "thought": True},
    {"text": "I look."},
    {"functionCall": {"name": "look", "args": {"at": "a"}}, "thoughtSignature": "c2ln"},
]
GEMINI_REPLY: dict[str, Any] = {
    "candidates": [{"content": {"role": "model", "parts": GEMINI_PARTS}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 5,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 11,
    },
}
OPENAI_REPLY: dict[str, Any] = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "a"},
            "logprobs": {
                "content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]
            },
        }
    ],
    "usage": {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "total_tokens": 8,
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}


def ask_of(server: RecordingServer, model: str, *said: Message, **more: Any) -> Request:
    lm = LM(model, base_url=server.url, api_key="k", temperature=None, max_tokens=64)
    return Request(lm, said, **more)


async def sent(model: str, answer: Any, *said: Message, **more: Any) -> dict[str, Any]:
    """The body that a provider gets."""
    async with recording(answer) as server:
        await LiteLLMProvider().complete(ask_of(server, model, *said, **more))
        return server.body


async def ask(model: str, answer: Any) -> Reply:
    async with recording(answer) as server:
        request = ask_of(server, model, Message("user", "hi"), tools=(TOOL,))
        return await LiteLLMProvider().complete(request)


class Listener:
    """Listens to a stream."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def __call__(self, text: str) -> None:
        self.heard.append(("text", text))

    def thoughts(self, text: str) -> None:
        self.heard.append(("thoughts", text))


async def stream(model: str, *events: dict[str, Any]) -> tuple[Reply, list[tuple[str, str]]]:
    listener = Listener()
    async with recording(list(events)) as server:
        request = ask_of(server, model, Message("user", "hi"), tools=(TOOL,))
        return await LiteLLMProvider().stream(request, listener), listener.heard


# --- requests

LOOKED = (
    Message("user", "Look."),
    Message("assistant", (ReasoningPart("hm", "c2ln"), TextPart("I look."), CALL)),
    Message("tool", (ToolResult("t1", (TextPart("here"), PICTURE)),)),
)


async def test_the_body_for_openai_with_media() -> None:
    said = Message("user", (TextPart("Look:"), PICTURE, SOUND, PAGE))
    assert await sent("openai/gpt-4o", OPENAI_REPLY, said) == {
        "model": "gpt-4o",
        "max_tokens": 64,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look:"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
                    {
                        "type": "file",
                        "file": {
                            "file_data": f"data:application/pdf;base64,{PDF}",
                            "filename": "page.pdf",
                        },
                    },
                ],
            }
        ],
    }


async def test_the_body_for_anthropic_with_media() -> None:
    said = Message("user", (TextPart("Look:"), PICTURE, PAGE))
    assert await sent(CLAUDE, ANTHROPIC_REPLY, said) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 64,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look:"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                    },
                ],
            }
        ],
    }


async def test_the_body_for_gemini_with_media() -> None:
    said = Message("user", (TextPart("Look:"), PICTURE, SOUND, PAGE))
    assert await sent(GEMINI, GEMINI_REPLY, said) == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "Look:"},
                    {"inline_data": {"data": PNG, "mime_type": "image/png"}},
                    {"inline_data": {"data": WAV, "mime_type": "audio/wav"}},
                    {"inline_data": {"data": PDF, "mime_type": "application/pdf"}},
                ],
            }
        ],
        "generationConfig": {"max_output_tokens": 64},
    }


async def test_anthropic_gets_its_signed_thoughts_calls_and_results_back() -> None:
    body = await sent(CLAUDE, ANTHROPIC_REPLY, *LOOKED, tools=(TOOL,), tool_choice="required")
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "a"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "here"},
                {"type": "image", "source": source},
            ],
        },
    ]
    assert [(tool["name"], tool["input_schema"]) for tool in body["tools"]] == [
        ("look", PARAMETERS)
    ]
    assert body["tool_choice"] == {"type": "any"}


async def test_gemini_gets_calls_results_and_tools() -> None:
    body = await sent(GEMINI, GEMINI_REPLY, *LOOKED, tools=(TOOL,), tool_choice="look")
    assert body["contents"][1]["parts"] == [
        {"text": "I look."},
        {"function_call": {"name": "look", "args": {"at": "a"}}},
    ]
    result = {"name": "look", "response": {"content": "here"}}
    assert body["contents"][2]["parts"] == [{"function_response": result}]
    assert body["tools"] == [
        {
            "function_declarations": [
                {"name": "look", "description": "Look.", "parameters": PARAMETERS}
            ]
        }
    ]


@pytest.mark.parametrize("model", [DEEPSEEK, MOONSHOT])
async def test_a_provider_that_wants_thoughts_back_gets_them(model: str) -> None:
    body = await sent(model, OPENAI_REPLY, *LOOKED[:2])
    assert body["messages"][1]["reasoning_content"] == "hm"


async def test_openai_gets_no_thoughts_back() -> None:
    body = await sent("openai/gpt-4o", OPENAI_REPLY, *LOOKED[:2])
    assert body["messages"][1].keys() == {"role", "content", "tool_calls"}


@pytest.mark.parametrize(
    ("model", "part"), [(CLAUDE, SOUND), (DEEPSEEK, PICTURE), (DEEPSEEK, PAGE)]
)
async def test_a_medium_that_litellm_would_leave_out_is_refused(
    model: str, part: MediaPart
) -> None:
    with pytest.raises(ConfigError, match=f"{model} takes no {part.kind} .*ask another LM"):
        await sent(model, OPENAI_REPLY, Message("user", (part,)))


async def test_anthropic_gets_the_urls_of_pictures_and_files() -> None:
    at_urls = (
        MediaPart("image", "", url="https://a.example/b.png"),
        MediaPart("file", "application/pdf", url="https://a.example/b.pdf"),
    )
    body = await sent(CLAUDE, ANTHROPIC_REPLY, Message("user", at_urls))
    assert body["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
        {"type": "document", "source": {"type": "url", "url": "https://a.example/b.pdf"}},
    ]


async def test_anthropic_gets_documents_that_it_cites() -> None:
    document = DocumentPart("Rome is a city.", "Cities", "p1")
    body = await sent(CLAUDE, ANTHROPIC_REPLY, Message("user", (TextPart("Read:"), document)))
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Read:"},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "Rome is a city."},
            "title": "Cities",
            "context": "p1",
            "citations": {"enabled": True},
        },
    ]


# --- replies


def cited(document: int, text: str) -> dict[str, Any]:
    return {
        "type": "char_location",
        "cited_text": text,
        "document_index": document,
        "document_title": None,
        "start_char_index": 0,
        "end_char_index": len(text),
    }


async def test_the_quotes_of_anthropic_are_read() -> None:
    found = {"type": "web_search_result_location", "cited_text": "x", "url": "https://a.example"}
    content = [
        {"type": "text", "text": "It is "},
        {"type": "text", "text": "a city", "citations": [cited(1, "Rome is a city. "), found]},
        {"type": "text", "text": ", old.", "citations": [cited(0, "It is old.")]},
    ]
    reply = await ask(CLAUDE, {**ANTHROPIC_REPLY, "stop_reason": "end_turn", "content": content})
    assert reply.text == "It is a city, old."
    assert reply.quotes == (Quote(1, "Rome is a city."), Quote(0, "It is old."))


async def test_a_reply_of_anthropic_is_read_whole() -> None:
    reply = await ask(CLAUDE, ANTHROPIC_REPLY)
    assert (reply.text, reply.reasoning, reply.signature) == ("I look.", "I think", "c2ln")
    assert reply.finish == "tool_calls"
    assert [(call.id, call.name) for call in reply.tool_calls] == [("t1", "look"), ("t2", "look")]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (15, 9)
    assert (reply.usage.cached_prompt_tokens, reply.usage.cache_write_tokens) == (3, 7)


async def test_a_reply_of_gemini_is_read_whole() -> None:
    reply = await ask(GEMINI, GEMINI_REPLY)
    assert (reply.text, reply.reasoning, reply.finish) == ("I look.", "I think", "tool_calls")
    assert [call.arguments for call in reply.tool_calls] == ['{"at": "a"}']
    assert reply.usage == Usage(5, 6, reasoning_tokens=2)


async def test_gemini_gets_the_signature_of_its_thoughts_back_with_the_call() -> None:
    reply = await ask(GEMINI, GEMINI_REPLY)
    turn = Message("assistant", reply.tool_calls)
    result = Message("tool", (ToolResult(reply.tool_calls[0].id, "here"),))
    body = await sent(GEMINI, GEMINI_REPLY, LOOKED[0], turn, result)
    assert body["contents"][1]["parts"][0]["thoughtSignature"] == "c2ln"


async def test_log_probabilities_and_thinking_tokens_are_read() -> None:
    reply = await ask("openai/gpt-4o", OPENAI_REPLY)
    (token,) = reply.logprobs or ()
    assert (token["token"], token["logprob"]) == ("a", -0.5)
    assert reply.usage == Usage(5, 3, reasoning_tokens=2)


async def test_several_blocks_of_thoughts_go_back_as_they_came() -> None:
    blocks = [
        {"type": "thinking", "thinking": " one ", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eHl6"},
    ]
    text = {"type": "text", "text": "a"}
    reply = await ask(CLAUDE, {**ANTHROPIC_REPLY, "content": [*blocks, text]})
    turn = Message("assistant", (ReasoningPart(reply.reasoning, reply.signature), TextPart("a")))
    body = await sent(CLAUDE, ANTHROPIC_REPLY, LOOKED[0], turn, Message("user", "Go on."))
    assert body["messages"][1]["content"] == [*blocks, text]


async def test_a_signature_that_looks_like_json_goes_back_as_it_is() -> None:
    turn = Message("assistant", (ReasoningPart("hm", "[c2ln"), TextPart("a")))
    body = await sent(CLAUDE, ANTHROPIC_REPLY, LOOKED[0], turn, Message("user", "Go on."))
    assert body["messages"][1]["content"][0]["signature"] == "[c2ln"


# --- streams


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def tool_block(index: int, call_id: str, *pieces: str) -> list[dict[str, Any]]:
    start = {"type": "tool_use", "id": call_id, "name": "look", "input": {}}
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, start, *deltas)


ANTHROPIC_STREAM = [
    {
        "type": "message_start",
        "message": {
            **{name: ANTHROPIC_REPLY[name] for name in ("id", "type", "role", "model")},
            "content": [],
            "stop_reason": None,
            "usage": {**ANTHROPIC_REPLY["usage"], "output_tokens": 1},
        },
    },
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "I th"},
        {"type": "thinking_delta", "thinking": "ink"},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "I look."}),
    *tool_block(2, "t1", '{"at":', '"a"}'),
    *tool_block(3, "t2"),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]


async def test_a_stream_of_anthropic_is_read() -> None:
    reply, heard = await stream(CLAUDE, *ANTHROPIC_STREAM)
    assert heard == [("thoughts", "I th"), ("thoughts", "I think"), ("text", "I look.")]
    assert (reply.text, reply.reasoning, reply.signature) == ("I look.", "I think", "c2ln")
    assert reply.finish == "tool_calls"
    assert reply.tool_calls == (CALL, ToolCall("t2", "look", "{}"))


async def test_a_stream_of_anthropic_is_counted() -> None:
    usage = (await stream(CLAUDE, *ANTHROPIC_STREAM))[0].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (15, 9)
    assert usage.cached_prompt_tokens == 3


async def test_the_quotes_in_a_stream_of_anthropic_are_read() -> None:
    text = block(
        0,
        {"type": "text", "text": "", "citations": []},
        {"type": "citations_delta", "citation": cited(0, "It is old.")},
        {"type": "text_delta", "text": "Old."},
        {"type": "citations_delta", "citation": cited(1, "Rome is a city.")},
    )
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}
    events = [ANTHROPIC_STREAM[0], *text, end, {"type": "message_stop"}]
    reply, _ = await stream(CLAUDE, *events)
    assert reply.text == "Old."
    assert reply.quotes == (Quote(0, "It is old."), Quote(1, "Rome is a city."))


async def test_a_stream_of_gemini_is_read() -> None:
    events = [
        {"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in GEMINI_PARTS
    ]
    events[-1]["candidates"][0]["finishReason"] = "STOP"
    events[-1]["usageMetadata"] = GEMINI_REPLY["usageMetadata"]
    reply, heard = await stream(GEMINI, *events)
    assert heard == [("thoughts", "I think"), ("text", "I look.")]
    assert (reply.finish, reply.tool_calls[0].name) == ("tool_calls", "look")
    assert reply.usage == Usage(5, 6, reasoning_tokens=2)
