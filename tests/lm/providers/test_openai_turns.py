"""Messages and tools as OpenAI's chat completions API takes them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from helpers.parts import messages, tools
from hypothesis import given

from lmpipe.errors import ConfigError
from lmpipe.foundation.exact_json import dump_json
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.parts import (
    MediaPart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from lmpipe.lm.providers.openai_body import request_body
from lmpipe.lm.providers.openai_turns import openai_turns, tool_fields
from lmpipe.lm.request import Request

OPENAI, VLLM = LM("openai/gpt-4o"), LM("vllm/m")
PICTURE = MediaPart("image", "image/png", b"png")
SOUND = MediaPart("audio", "audio/mpeg", b"mp3")
PAGE = MediaPart("file", "application/pdf", b"pdf", name="page.pdf")
CALLS = (ToolCall("1", "look", '{"at":"a"}'), ToolCall("2", "look", '{"at":"b"}'))


def turns(*said: Message, lm: LM = OPENAI) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = request_body(Request(lm, said), "none")["messages"]
    return sent


def content(*parts: Part, lm: LM = OPENAI) -> Any:
    (turn,) = turns(Message("user", parts), lm=lm)
    return turn["content"]


def url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def test_a_text_stays_a_text() -> None:
    assert turns(Message("user", "hi")) == [{"role": "user", "content": "hi"}]


def test_texts_and_pictures_keep_their_order() -> None:
    assert content(TextPart("Look:"), PICTURE, TextPart("Well?")) == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": url("image/png", b"png")}},
        {"type": "text", "text": "Well?"},
    ]


def test_the_detail_of_a_picture_is_sent() -> None:
    (sent,) = content(MediaPart("image", "", url="https://a.example/b.png", detail="low"))
    assert sent["image_url"] == {"url": "https://a.example/b.png", "detail": "low"}


def test_a_sound_is_sent_with_its_format() -> None:
    audio = {"data": b64encode(b"mp3").decode(), "format": "mp3"}
    assert content(SOUND) == [{"type": "input_audio", "input_audio": audio}]


def test_a_file_is_sent_with_its_name() -> None:
    file = {"file_data": url("application/pdf", b"pdf"), "filename": "page.pdf"}
    assert content(PAGE) == [{"type": "file", "file": file}]


def test_an_empty_text_beside_a_picture_is_left_out() -> None:
    assert [part["type"] for part in content(TextPart(""), PICTURE)] == ["image_url"]


def test_vllm_takes_a_sound_at_a_url() -> None:
    sound = MediaPart("audio", "", url="https://a.example/b.mp3")
    assert content(sound, lm=VLLM) == [
        {"type": "audio_url", "audio_url": {"url": "https://a.example/b.mp3"}}
    ]


@pytest.mark.parametrize("kind", ["audio", "file"])
def test_a_medium_at_a_url_that_openai_does_not_take_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match=f"openai/gpt-4o takes no {kind} at a URL.*its bytes"):
        content(MediaPart(kind, "", url="https://a.example/b"))


def test_a_tool_call_of_the_user_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot hold a ToolCall"):
        content(CALLS[0])


def test_calls_of_tools_stand_beside_the_text() -> None:
    function = {"name": "look", "arguments": '{"at":"a"}'}
    assert turns(Message("assistant", (TextPart("I look."), CALLS[0]))) == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "1", "type": "function", "function": function}],
        }
    ]


def test_calls_of_tools_alone_have_no_content() -> None:
    (turn,) = turns(Message("assistant", CALLS))
    assert turn["content"] is None
    assert [call["id"] for call in turn["tool_calls"]] == ["1", "2"]


def test_the_result_of_a_tool_names_its_call() -> None:
    assert turns(Message("tool", (ToolResult("1", "blue"),))) == [
        {"role": "tool", "tool_call_id": "1", "content": "blue"}
    ]


def test_pictures_of_tools_follow_all_results_in_a_turn_of_the_user() -> None:
    said = [
        Message("assistant", CALLS),
        Message("tool", (ToolResult("1", (TextPart("Here:"), PICTURE)),)),
        Message("tool", (ToolResult("2", (PICTURE,)),)),
        Message("user", "Well?"),
    ]
    sent = turns(*said)
    assert [turn["role"] for turn in sent] == ["assistant", "tool", "tool", "user", "user"]
    assert sent[1]["content"] == "Here:"
    assert sent[2]["content"] == "(The tool returned media, which the next turn shows.)"
    assert [part["type"] for part in sent[3]["content"]] == ["image_url", "image_url"]


def test_pictures_of_the_last_result_are_sent() -> None:
    sent = turns(Message("tool", (ToolResult("1", (PICTURE,)),)))
    assert [turn["role"] for turn in sent] == ["tool", "user"]


def test_models_of_mistral_get_an_answer_between_results_and_the_next_question() -> None:
    said = [Message("tool", (ToolResult("1", "blue"),)), Message("user", "Well?")]
    sent = turns(*said, lm=LM("vllm/mistralai/Ministral-8B-Instruct"))
    assert [turn["role"] for turn in sent] == ["tool", "assistant", "user"]


def test_vllm_gets_the_thoughts_of_earlier_turns() -> None:
    (turn,) = turns(Message("assistant", (ReasoningPart("hm"), TextPart("a"))), lm=VLLM)
    assert (turn["reasoning"], turn["content"]) == ("hm", "a")


def test_openai_does_not_get_the_thoughts_of_earlier_turns() -> None:
    said = Message("assistant", (ReasoningPart("hm", "c2ln"), TextPart("a")))
    assert turns(said) == [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("", None),
        ("auto", "auto"),
        ("required", "required"),
        ("none", "none"),
        ("look", {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_how_a_tool_is_chosen(choice: str, sent: Any) -> None:
    tool = ToolSpec("look", "Look.", '{"type":"object"}')
    asked = Request(OPENAI, (Message("user", "hi"),), tools=(tool,), tool_choice=choice)
    body = request_body(asked, "none")
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}},
        }
    ]
    assert body.get("tool_choice") == sent


def test_a_choice_of_no_tool_is_refused() -> None:
    tool = ToolSpec("look", "Look.", "{}")
    asked = Request(OPENAI, (Message("user", "hi"),), tools=(tool,), tool_choice="find")
    with pytest.raises(ConfigError, match=r"'find' names no tool of the request.* look"):
        request_body(asked, "none")


def test_texts_alone_are_one_text() -> None:
    assert content(TextPart("a"), TextPart("b")) == "ab"


def test_a_request_without_tools_has_no_fields_of_tools() -> None:
    body = request_body(Request(OPENAI, (Message("user", "hi"),)), "none")
    assert not {"tools", "tool_choice"} & body.keys()


@given(messages, tools)
def test_whatever_is_sent_is_json(message: Message, given_tools: tuple[ToolSpec, ...]) -> None:
    asked = Request(OPENAI, (message,), tools=given_tools)
    try:
        dump_json({"messages": openai_turns(asked), **tool_fields(asked)})
    except ConfigError:
        assert not isinstance(message.content, str)
