"""Stored entries: whatever is changed in one, it never reads as another reply."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.reply_cache import KEY, REPLY, REQUEST, replies, texts
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.lm.cache.entry import About, decode, encode, from_line, to_line
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Message, Reply, Request
from lmpipe.lm.usage import Usage

abouts = st.builds(About, model=texts, asked=texts, sample=st.integers(0, 1000))
ENTRY = encode(KEY, REPLY, About.of(REQUEST))


@given(key=texts, reply=replies, about=abouts)
def test_what_is_encoded_is_decoded(key: str, reply: Reply, about: About) -> None:
    assert decode(key, encode(key, reply, about)) == reply.as_cached()


def test_every_field_of_a_reply_is_stored() -> None:
    # A new field has to be added to `decode`, which names each for speed.
    assert {field.name for field in dataclasses.fields(Reply)} == {
        *REPLY.to_json(),
        "cached",
    }
    assert {field.name for field in dataclasses.fields(Usage)} == set(Usage().to_json())


@given(reply=replies, place=st.integers(0), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(reply: Reply, place: int, flip: int) -> None:
    data = bytearray(encode(KEY, reply, About.of(REQUEST)))
    data[place % len(data)] ^= flip
    with pytest.raises(ValueError, match=r"checksum is wrong|no stored reply"):
        decode(KEY, bytes(data))


@given(length=st.integers(0, len(ENTRY) - 1))
def test_an_entry_that_is_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(ValueError, match=r"checksum is wrong|no stored reply"):
        decode(KEY, ENTRY[:length])


@given(key=texts, reply=replies, about=abouts)
def test_an_exported_line_is_imported_as_it_was(key: str, reply: Reply, about: About) -> None:
    data = encode(key, reply, about)
    line = to_line(key, data, stored="2026-01-01T00:00:00+00:00")
    assert line.count(b"\n") == 1
    assert from_line(line) == (key, about.model, data)


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
    line = to_line(KEY, ENTRY, stored="2026-01-01T00:00:00+00:00")
    assert before in line
    with pytest.raises(ValueError, match=r"."):
        from_line(line.replace(before, after, 1))


def test_a_request_is_remembered_by_its_last_turn() -> None:
    turns = (Message("system", "Be brief."), Message("user", "x" * 5000))
    about = About.of(Request(LM("vllm/m"), turns, sample=3))
    assert about == About("vllm/m", "x" * 2000, 3)


def test_no_secret_is_stored() -> None:
    lm = LM(
        "vllm/m",
        base_url="http://user:sesame@127.0.0.1:1/v1",
        api_key="sesame",
        headers={"X-Key": "sesame"},
        extra_headers={"Authorization": "sesame"},
    )
    assert b"sesame" not in encode(KEY, REPLY, About.of(Request(lm, (Message("user", "hi"),))))
