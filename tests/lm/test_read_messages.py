"""Messages and tools in OpenAI's format."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import CallError
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, ReasoningPart, TextPart, ToolCall, ToolResult, ToolSpec
from lmpipe.lm.read_messages import read_messages, read_tools

PNG = base64.b64encode(b"\x89PNG").decode()
FUNCTION = {"name": "search", "arguments": '{"q": 1}'}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"role": "user", "content": "hi"}, Message("user", "hi")),
        ({"role": "developer", "content": "hi"}, Message("system", "hi")),
        (
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            Message("user", (TextPart("hi"),)),
        ),
        (
            {
                "role": "user",
                "content": [
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
                    }
                ],
            },
            Message("user", (MediaPart("image", "image/png", b"\x89PNG", detail="low"),)),
        ),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://host/a.png"}}],
            },
            Message("user", (MediaPart("image", "", url="https://host/a.png"),)),
        ),
        (
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}}],
            },
            Message("user", (MediaPart("audio", "audio/wav", b"\x89PNG"),)),
        ),
        (
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {
                            "file_data": f"data:application/pdf;base64,{PNG}",
                            "filename": "a.pdf",
                        },
                    }
                ],
            },
            Message("user", (MediaPart("file", "application/pdf", b"\x89PNG", name="a.pdf"),)),
        ),
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": FUNCTION}],
            },
            Message("assistant", (ToolCall("c1", "search", '{"q": 1}'),)),
        ),
        (
            {"role": "assistant", "content": "4", "reasoning_content": "2 + 2"},
            Message("assistant", (ReasoningPart("2 + 2"), TextPart("4"))),
        ),
        (
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
            Message("tool", (ToolResult("c1", "found"),)),
        ),
    ],
    ids=lambda item: None,
)
def test_turns_are_read(given: Any, message: Message) -> None:
    assert read_messages([given]) == (message,)


@pytest.mark.parametrize(
    ("turn", "problem"),
    [
        ({"role": "user"}, "it has no content"),
        ({"role": "user", "content": 7}, "its content is 7"),
        ({"role": "user", "content": [{"type": "video"}]}, "its content has"),
        ({"role": "tool", "content": "x"}, "needs the tool_call_id"),
        ({"role": "embed", "content": "x"}, "the role 'embed' is none of"),
        ({"role": "assistant", "tool_calls": [{"id": 1}]}, "is not a tool call"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png"}]},
            "a data: URL has a comma",
        ),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": "data:image/png;base64,%%"}],
            },
            "are not base64",
        ),
    ],
)
def test_what_cannot_be_read_names_the_turn_and_the_reason(turn: Any, problem: str) -> None:
    with pytest.raises(CallError, match=f"message 2: .*{problem}"):
        read_messages([{"role": "user", "content": "first"}, turn])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "tool_calls"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_anything_is_read_or_refused_with_a_call_error(value: Any) -> None:
    try:
        messages = read_messages(value)
    except CallError:
        return
    assert all(isinstance(message, Message) for message in messages)


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text()), min_size=1))
def test_texts_are_read_back_unchanged(turns: list[tuple[str, str]]) -> None:
    given_turns = [{"role": role, "content": text} for role, text in turns]
    assert [(m.role, m.text) for m in read_messages(given_turns)] == turns


def test_a_tool_without_parameters_takes_none() -> None:
    (tool,) = read_tools([{"type": "function", "function": {"name": "now"}}])
    assert tool == ToolSpec("now", "", '{"properties":{},"type":"object"}')


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(CallError, match="is not a tool"):
        read_tools([{"name": "now"}])


def with_image(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


@pytest.mark.parametrize(
    "url",
    [
        f"DATA:image/png;base64,{PNG}",
        f"data:image/png;charset=utf-8;base64,{PNG}",
        f"data:image/png;base64,{PNG[:4]}\n{PNG[4:]}",
        "data:image/png,%89PNG",
    ],
)
def test_the_same_bytes_are_the_same_part(url: str) -> None:
    assert read_messages(with_image(url)) == read_messages(
        with_image(f"data:image/png;base64,{PNG}")
    )


def test_a_data_url_without_a_type_has_that_of_its_bytes() -> None:
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    (message,) = read_messages(with_image(f"data:;base64,{data}"))
    assert message.content == (MediaPart("image", "image/png", b"\x89PNG\r\n\x1a\n"),)


@pytest.mark.parametrize(
    "url", ["", "data:image/png;base64", "data:image/png;base64,§", "https://a:b@c.example/d.png"]
)
def test_an_image_that_cannot_be_sent_is_an_error_of_its_message(url: str) -> None:
    with pytest.raises(CallError, match=r"^message 1: "):
        read_messages(with_image(url))


@pytest.mark.parametrize(
    "given",
    [
        {"role": "user", "content": [{"type": "image", "source": {"data": "QUJD" * 99}}]},
        {"role": "user", "content": {"data": "QUJD" * 99}},
        with_image("data:image/png;base64,§" + "QUJD" * 99),
        b"QUJDQUJD" * 99,
    ],
)
def test_errors_show_no_bytes(given: Any) -> None:
    with pytest.raises(CallError) as error:
        read_messages(given)
    assert "QUJDQUJDQ" not in str(error.value)


def test_the_content_of_a_turn_may_have_images_of_signatures() -> None:
    image = lmpipe.Image(data=b"GIF89a", detail="low")
    document = lmpipe.Document(text="Cats.", title="About")
    read = read_messages(
        [
            {"role": "user", "content": ["See:", image, document]},
            {"role": "user", "content": image},
            Message("user", (image,)),  # type: ignore[arg-type]
        ]
    )
    part = MediaPart("image", "image/gif", b"GIF89a", detail="low")
    assert [message.content for message in read] == [
        (TextPart("See:"), part, TextPart("Title: About\n\nCats.")),
        (part,),
        (part,),
    ]


def test_a_message_that_holds_no_parts_is_refused() -> None:
    with pytest.raises(CallError, match="message 1: its content has 5"):
        read_messages([Message("user", (5,))])  # type: ignore[arg-type]


def test_tools_may_be_those_of_signatures() -> None:
    def search(query: str) -> str:
        """Search the web."""
        return query

    (tool,) = read_tools([lmpipe.Tool.of(search)])
    assert (tool.name, tool.description) == ("search", "Search the web.")
    assert '"query"' in tool.parameters
