"""Stored entries: no change to one makes it read as another reply."""

from __future__ import annotations

import dataclasses

import orjson
import pytest
from helpers.reply_cache import KEY, REPLY, REQUEST, replies, texts
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.cache.entry import decode, encode, from_line, to_line
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, TextPart, ToolCall
from lmpipe.lm.request import Quote, Reply, Request
from lmpipe.state.usage import Usage

NOW = "2026-01-01T00:00:00+00:00"
ENTRY = encode(KEY, REQUEST, REPLY)

models = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="@#"))
requests = st.builds(
    lambda model, asked, sample: Request(
        LM(f"vllm/{model}"), (Message("user", asked),), None, sample
    ),
    models,
    texts,
    st.integers(0, 1000),
)


@given(key=texts, request=requests, reply=replies)
def test_an_encoded_reply_is_decoded_as_it_was(key: str, request: Request, reply: Reply) -> None:
    assert decode(key, encode(key, request, reply)) == reply.as_cached()


def test_every_field_of_a_reply_is_stored() -> None:
    reply = dataclasses.replace(
        REPLY,
        usage=Usage(5, 4, 3, 2, 1),
        reasoning="hm",
        refusal="no",
        attempts=2,
        tool_calls=(ToolCall("1", "look", "{}"),),
        signature="c2ln",
        logprobs=({"token": "a", "logprob": -0.5},),
        context=4096,
        quotes=(Quote(0, "words"),),
    )
    assert {field.name for field in dataclasses.fields(Reply)} == {*reply.to_json(), "cached"}
    assert decode(KEY, encode(KEY, REQUEST, reply)) == reply.as_cached()
    assert {field.name for field in dataclasses.fields(Usage)} == set(reply.usage.to_json())


def test_a_usual_reply_is_stored_in_the_same_bytes_as_before() -> None:
    request = Request(LM("vllm/m"), (Message("user", "hi"),))
    reply = Reply("hé", "length", Usage(3, 2, 1), 0.5, "v1")
    assert encode("k", request, reply) == (
        b"lmpipe-reply-2 2893614f0baa6fe2610db3992ff7c7718abb0c4578399cfb91d903cfe14f6c15\n"
        b'{"fingerprint":"v1","finish":"length","seconds":0.5,"text":"h\xc3\xa9","usage":'
        b'{"cached_prompt_tokens":1,"completion_tokens":2,"prompt_tokens":3}}\n'
        b'{"asked":"hi","model":"vllm/m","sample":0}'
    )


@pytest.mark.parametrize(
    "extras",
    [
        {"tool_calls": [{"id": "1", "name": "f"}]},
        {"tool_calls": {}},
        {"logprobs": ["a"]},
        {"signature": 1},
    ],
)
def test_a_part_of_a_reply_in_another_form_is_refused(extras: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a stored reply"):
        Reply.from_json({**REPLY.to_json(), **extras})


def test_a_medium_is_stored_as_its_type_and_size() -> None:
    picture = MediaPart("image", "image/png", b"secret bytes")
    request = Request(LM("vllm/m"), (Message("user", (TextPart("Look: "), picture)),))
    assert b"Look: <image image/png, 12 bytes" in encode(KEY, request, REPLY)


@given(reply=replies, place=st.integers(0), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(reply: Reply, place: int, flip: int) -> None:
    data = bytearray(encode(KEY, REQUEST, reply))
    data[place % len(data)] ^= flip
    with pytest.raises(ValueError, match=r"wrong checksum|not a stored reply"):
        decode(KEY, bytes(data))


@given(length=st.integers(0, len(ENTRY) - 1))
def test_an_entry_that_is_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(ValueError, match=r"wrong checksum|not a stored reply"):
        decode(KEY, ENTRY[:length])


def test_an_exported_reply_with_thoughts_in_its_text_is_imported() -> None:
    reply = Reply("<think>hm</think>\n\nParis")  # as earlier versions stored it
    line = to_line(KEY, encode(KEY, REQUEST, reply), stored=NOW)
    found = decode(KEY, from_line(line)[2])
    assert found is not None
    assert (found.text, found.reasoning) == ("Paris", "hm")


@given(key=texts, request=requests, reply=replies)
def test_an_exported_line_is_imported_as_it_was(key: str, request: Request, reply: Reply) -> None:
    data = encode(key, request, reply)
    line = to_line(key, data, stored=NOW)
    assert line.count(b"\n") == 1
    assert from_line(line) == (key, request.lm.model, data)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"hello", b"jello"),
        (b"hi", b"ho"),
        (b'"vllm/m"', b'"vllm/n"'),
        (KEY.encode(), b"f" * 64),
        (b'"completion_tokens":2', b'"completion_tokens":3'),
        (b'"completion_tokens":2', b'"completion_tokens":"2"'),
        (b'"checksum":"', b'"checksum":"0'),
        (b'"asked"', b'"told"'),
        (b"{", b"["),
    ],
)
def test_a_changed_line_is_refused(before: bytes, after: bytes) -> None:
    line = to_line(KEY, ENTRY, stored=NOW)
    assert before in line
    with pytest.raises(ValueError, match=r"."):
        from_line(line.replace(before, after, 1))


def test_an_entry_shows_the_last_turn_of_its_request_up_to_a_limit() -> None:
    turns = (Message("system", "Be brief."), Message("user", "x" * 5000))
    data = encode(KEY, Request(LM("vllm/m"), turns, sample=3), REPLY)
    value = orjson.loads(to_line(KEY, data, stored=NOW))
    assert (value["model"], value["asked"], value["sample"]) == ("vllm/m", "x" * 2000, 3)


def test_no_secret_is_stored() -> None:
    lm = LM(
        "vllm/m",
        base_url="http://user:sesame@127.0.0.1:1/v1",
        api_key="sesame",
        headers={"X-Key": "sesame"},
        extra_headers={"Authorization": "sesame"},
    )
    assert b"sesame" not in encode(KEY, Request(lm, (Message("user", "hi"),)), REPLY)
