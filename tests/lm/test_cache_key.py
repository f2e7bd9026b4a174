"""Cache keys: every field of an LM and a request is either in the key or not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from helpers.parts import messages as part_messages
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.lm import cache_key as cache_key_file
from lmpipe.lm import identity as identity_file
from lmpipe.lm.cache_key import Prefix
from lmpipe.lm.lm import LM, Limits
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import MediaPart, ToolSpec
from lmpipe.lm.request import Request
from lmpipe.lm.tls import TLS

MESSAGES = (Message("system", "be brief"), Message("user", "hi"))

TOOL = ToolSpec("look", "Look it up.", "{}")

# Another value for every field of an LM.
OTHER_LM: dict[str, Any] = {
    "model": "openai/other",
    "base_url": "http://other:1/v1",
    "replicas": ["http://host:1/v1", "http://host:2/v1"],
    "api_key": "sk-other",
    "api_key_env": "OTHER_KEY",
    "headers": {"X-Token": "other"},
    "tls": TLS(ca="other.pem"),
    "temperature": 0.5,
    "max_tokens": 7,
    "reasoning": "high",
    "context": 99,
    "price": (1.0, 2.0),
    "timeout": 5.0,
    "limits": Limits(rpm=5),
    "structured": "none",
    "params": {"top_p": 0.5},
    "takes": {"tools": True},
    "adapter": "route-0123456789abcdef",
}

OTHER_REQUEST: dict[str, Any] = {
    "lm": LM("openai/other", base_url="http://host:1/v1"),
    "messages": (Message("user", "hi"),),
    "constraint": Constraint("grammar", 'root ::= "a"'),
    "sample": 1,
    "tools": (TOOL,),
    "tool_choice": "required",
    "prefix": Prefix(MESSAGES[:1]),
}


def lm(**changes: Any) -> LM:
    settings: dict[str, Any] = {"model": "openai/m", "base_url": "http://host:1/v1", **changes}
    settings |= settings.pop("params", {})
    if "replicas" in settings:
        settings["base_url"] = settings.pop("replicas")
    return LM(settings.pop("model"), **settings)


def key(**changes: Any) -> str:
    return Request(**{"lm": lm(), "messages": MESSAGES, **changes}).key()


@pytest.mark.parametrize(
    ("kind", "room"), [(LM, identity_file), (Request, cache_key_file)], ids=["LM", "Request"]
)
def test_every_field_is_declared_to_be_in_the_key_or_not(kind: Any, room: Any) -> None:
    fields = {field.name for field in dataclasses.fields(kind)}
    assert sorted(fields) == sorted([*room.IN_KEY, *room.NOT_IN_KEY])


@pytest.mark.parametrize("name", identity_file.IN_KEY)
def test_a_field_of_the_lm_in_the_key_changes_it(name: str) -> None:
    assert key(lm=lm(**{name: OTHER_LM[name]})) != key()


@pytest.mark.parametrize("name", identity_file.NOT_IN_KEY)
def test_a_field_of_the_lm_outside_the_key_does_not_change_it(name: str) -> None:
    assert key(lm=lm(**{name: OTHER_LM[name]})) == key()


@pytest.mark.parametrize("name", cache_key_file.IN_KEY)
def test_a_field_of_the_request_in_the_key_changes_it(name: str) -> None:
    tools = {"tools": (TOOL,)} if name == "tool_choice" else {}  # without tools nothing is chosen
    assert key(**tools, **{name: OTHER_REQUEST[name]}) != key(**tools)


def test_the_key_of_a_request_of_text_is_the_same_as_before() -> None:
    sent = LM("openai/m", base_url="http://host:1/v1", top_p=0.5, temperature=0.0, max_tokens=512)
    messages = (Message("system", "be brief"), Message("user", "hé"))
    request = Request(sent, messages, Constraint("grammar", 'root ::= "a"'), 2)
    assert request.key("w") == "17d772afe1d5268cd6661f13a57163fbf88a43a5e823128987a55bbb18578c5c"


def test_a_picture_is_in_the_key_by_its_bytes() -> None:
    one, other = (
        (Message("user", (MediaPart("image", "image/png", data),)),) for data in (b"1", b"2")
    )
    assert key(messages=one) != key(messages=other)


def test_a_picture_under_another_name_has_the_same_key() -> None:
    one, other = (
        (Message("user", (MediaPart("image", "image/png", b"1", name=name),)),)
        for name in ("a.png", "b.png")
    )
    assert key(messages=one) == key(messages=other)


def test_the_name_of_a_file_is_in_the_key_as_lms_are_told_it() -> None:
    one, other = (
        (Message("user", (MediaPart("file", "application/pdf", b"1", name=name),)),)
        for name in ("a.pdf", "b.pdf")
    )
    assert key(messages=one) != key(messages=other)


@pytest.mark.parametrize("name", cache_key_file.NOT_IN_KEY)
def test_a_field_of_the_request_outside_the_key_does_not_change_it(name: str) -> None:
    assert key(**{name: OTHER_REQUEST[name]}) == key()


def test_the_hash_of_local_weights_is_in_the_key() -> None:
    request = Request(lm(), MESSAGES)
    assert request.key("one") != request.key("two") != request.key()


roles = st.sampled_from(["system", "user", "assistant"])
turns = st.lists(st.builds(Message, roles, st.text()) | part_messages, min_size=1, max_size=5).map(
    tuple
)
constraints = st.none() | st.builds(
    Constraint, st.sampled_from(["grammar", "json_schema"]), st.text()
)


@given(turns, constraints, st.integers(0, 9), st.data())
def test_a_prefix_does_not_change_the_key(
    messages: tuple[Message, ...], constraint: Constraint | None, sample: int, data: st.DataObject
) -> None:
    shared = messages[: data.draw(st.integers(0, len(messages)))]
    plain = Request(lm(), messages, constraint, sample)
    quick = Request(lm(), messages, constraint, sample, prefix=Prefix(shared))
    assert (quick.key(), quick.key("w"), quick.seed()) == (
        plain.key(),
        plain.key("w"),
        plain.seed(),
    )


@given(turns, turns)
def test_different_conversations_have_different_keys(
    one: tuple[Message, ...], two: tuple[Message, ...]
) -> None:
    assert (key(messages=one) == key(messages=two)) == (one == two)


def test_an_lm_with_other_settings_has_another_key() -> None:
    first = lm()
    assert first.identity_json != first.with_settings(top_p=0.1).identity_json
    assert first.identity_json == lm(price=(1.0, 2.0)).identity_json


def test_headers_have_two_names_and_are_never_in_the_key() -> None:
    one = lmpipe.LM("openai/m", headers={"X-Token": "t"})
    two = lmpipe.LM("openai/m", extra_headers={"X-Token": "t"})
    assert one.headers == two.headers == {"X-Token": "t"}
    assert b"X-Token" not in one.identity_json + two.identity_json
