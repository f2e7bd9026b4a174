"""The parts of messages: values that are known by their content, and read back from JSON."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from typing import Any

import pytest
from helpers.parts import parts
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import MediaError
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, Part, TextPart, ToolResult, media_in, read_part, show_part

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def picture(**settings: Any) -> MediaPart:
    return MediaPart(**{"kind": "image", "media_type": "image/png", "data": PNG, **settings})


@given(parts)
def test_a_part_is_read_back_from_its_json(part: Part) -> None:
    held = {medium.sha256: medium.data for medium in media_in((part,))}
    assert read_part(part.to_json(), held.__getitem__) == part


def test_the_json_of_a_medium_names_its_bytes_by_their_hash() -> None:
    sha256 = hashlib.sha256(PNG).hexdigest()
    assert picture().to_json() == {"image": {"media_type": "image/png", "sha256": sha256}}


def test_a_picture_of_another_name_is_the_same_picture() -> None:
    assert picture(name="a.png") == picture(name="b.png")


def test_a_file_of_another_name_is_another_file() -> None:
    one, other = (picture(kind="file", name=name) for name in ("a.pdf", "b.pdf"))
    assert one != other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "https://a.example/b.png"}, "it has both"),
        ({"data": b""}, "it has neither"),
        ({"media_type": ""}, "no media_type"),
        ({"data": b"", "url": "data:image/png;base64,AAAA"}, "data: URL"),
        ({"data": b"", "url": "https://user:secret@a.example/b.png"}, "password: fetch it"),
    ],
)
def test_a_medium_that_cannot_be_sent_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        picture(**settings)


def test_the_bytes_of_a_medium_are_not_shown() -> None:
    message = Message("user", (TextPart("see "), picture()))
    assert "PNG" not in repr(message)
    assert message.shown == f"see <image image/png, 264 bytes, {picture().sha256[:8]}>"


def test_the_text_of_a_turn_leaves_media_out() -> None:
    result = ToolResult("1", (TextPart("b"), picture()))
    assert Message("user", (TextPart("a"), picture(), result)).text == "ab"


def test_a_key_in_the_url_of_a_medium_is_not_shown() -> None:
    part = MediaPart("image", "", url="https://a.example/b.png?api_key=secret")
    assert "secret" not in show_part(part)


def test_a_medium_that_was_pickled_is_the_same() -> None:
    part = picture()
    assert pickle.loads(pickle.dumps(part)) == part


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        {},
        {"text": 1},
        {"text": "a", "more": 1},
        {"image": {"media_type": "image/png"}},
        {"image": {"media_type": 1, "sha256": "0" * 64}},
        {"tool_call": {"id": "1", "name": "f"}},
        {"tool_result": {"call_id": "1", "content": []}},
        {"tool_result": {"call_id": "1", "content": [{"reasoning": {"text": "a"}}]}},
        {"video": {}},
    ],
)
def test_what_is_no_part_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_part(value, lambda _: PNG)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(
                st.sampled_from(
                    ["text", "image", "tool_call", "tool_result", "reasoning", "content", "id"]
                ),
                s,
            )
        ),
    )
)
def test_reading_a_part_never_crashes(value: Any) -> None:
    with contextlib.suppress(ValueError):
        read_part(value, lambda _: PNG)
