"""The file of a cassette: what is written is read back, and damage is reported."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import orjson
import pytest
from helpers.parts import messages as part_messages
from helpers.parts import tools
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import CassetteError
from lmpipe.lm.cassettes.file_format import RecordedCall, RecordedRequest, dump_calls, read_cassette
from lmpipe.lm.cassettes.media_folder import MediaFolder
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Constraint, Message
from lmpipe.lm.parts import ToolCall, ToolSpec
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.state.usage import Usage

text = st.sampled_from(["", "a", "b\n", "é\x00 ☃", '{"', "shared " * 10, "shared " * 70])
messages = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), text)
messages |= part_messages
constraints = st.builds(Constraint, st.sampled_from(["json_schema", "grammar"]), text)
lms = st.builds(
    LM,
    st.sampled_from(["vllm/a", "openai/b"]),
    base_url=st.sampled_from([None, "http://127.0.0.1:8000/v1"]),
    temperature=st.floats(0, 2),
    max_tokens=st.integers(1, 9),
    top_p=st.none() | st.floats(0, 1),
)
requests = st.builds(
    Request,
    lms,
    st.lists(messages, min_size=1, max_size=4).map(tuple),
    st.none() | constraints,
    st.integers(0, 3),
    tools,
    st.sampled_from(["", "required", "look"]),
)
usages = st.builds(Usage, *[st.integers(0, 9)] * 5)
replies = st.builds(
    Reply,
    text,
    st.sampled_from(["stop", "length", "other"]),
    usages,
    reasoning=st.sampled_from(["", "hm"]),
    tool_calls=st.sampled_from([(), (ToolCall("1", "look", '{"a": 1}'),)]),
    signature=st.sampled_from(["", "c2ln"]),
    logprobs=st.sampled_from([None, ({"token": "a", "logprob": -0.5},)]),
)
calls = st.builds(
    lambda request, reply: RecordedCall(RecordedRequest.of(request), reply), requests, replies
)
cassettes = st.lists(
    calls, max_size=6, unique_by=lambda call: (call.request.id(), call.request.base_url)
)


def request(question: str = "Who?", **settings: object) -> Request:
    lm = LM("vllm/m", **settings)  # type: ignore[arg-type]
    return Request(lm, (Message("system", "Answer."), Message("user", question)))


def call(question: str = "Who?", reply: str = "me") -> RecordedCall:
    return RecordedCall(RecordedRequest.of(request(question)), Reply(reply))


@given(cassettes)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, recorded: list[RecordedCall]
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    path.write_bytes(dump_calls(recorded))
    MediaFolder(path).add(m for call in recorded for m in call.request.messages)
    found = list(read_cassette(path)[0].values())
    assert len(found) == len(recorded)
    assert all(call in recorded for call in found)


@given(cassettes, st.randoms(use_true_random=False))
def test_the_file_does_not_depend_on_the_order_of_calls(
    recorded: list[RecordedCall], rng: random.Random
) -> None:
    shuffled = rng.sample(recorded, len(recorded))
    assert dump_calls(shuffled) == dump_calls(recorded)


def test_a_line_has_sorted_keys_and_no_default_values() -> None:
    _, line = dump_calls([call()]).splitlines()
    assert line == (
        b'{"lm":{"max_tokens":512,"model":"vllm/m","temperature":0.0},"messages":'
        b'[{"system":"Answer."},{"user":"Who?"}],"reply":{"text":"me"}}'
    )


def test_shared_parts_are_written_once() -> None:
    system = Message("system", "Answer in one word, whatever you are asked. " * 3)
    recorded = [
        RecordedCall(RecordedRequest({"model": "m"}, (system, Message("user", str(n)))), Reply("a"))
        for n in range(9)
    ]
    data = dump_calls(recorded)
    assert data.count(b"in one word") == 3
    assert b'{"user":"8"}' in data


def test_the_duration_of_a_reply_is_not_recorded() -> None:
    asked = RecordedRequest.of(request())
    slow, fast = (RecordedCall(asked, Reply("me", seconds=s)) for s in (1.0, 2.0))
    assert dump_calls([slow]) == dump_calls([fast])


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "sesame"},
        {"headers": {"X-Key": "sesame"}},
        {"base_url": "http://me:sesame@127.0.0.1/v1"},
        {"extra_headers": {"a": "sesame"}},
        {"extra_body": {"deep": [{"api_key": "sesame"}]}},
    ],
)
def test_no_secret_is_recorded(settings: dict[str, object]) -> None:
    asked = RecordedRequest.of(request(**settings))
    assert b"sesame" not in dump_calls([RecordedCall(asked, Reply("me"))])


def test_unset_settings_are_left_out() -> None:
    """Otherwise every new setting of `LM` would invalidate all cassettes."""
    recorded = call().request
    richer = RecordedRequest({**recorded.lm, "replicas": []}, recorded.messages)
    assert "structured" not in recorded.lm
    assert "replicas" not in RecordedRequest.of(request()).lm
    assert richer.id() != recorded.id()


def test_the_url_of_the_server_is_not_part_of_the_id() -> None:
    here, there = (
        RecordedRequest.of(request(base_url=f"http://{host}/v1")) for host in ("here", "there")
    )
    assert here.id() == there.id()
    assert here.base_url != there.base_url


def test_the_weights_of_the_embedded_lm_are_recorded() -> None:
    asked = RecordedRequest.of(Request(LM("local"), (Message("user", "Who?"),)))
    assert len(asked.lm["weights"]) == 12


def test_different_scripts_have_different_ids() -> None:
    first, second = (
        RecordedRequest.of(Request(ScriptedLM([reply]), (Message("user", "Who?"),)))
        for reply in ("a", "b")
    )
    assert first.id() != second.id()


HEAD = b'{"cassette":1}\n'


@pytest.mark.parametrize(
    ("data", "line", "said"),
    [
        (b"", 0, ""),
        (HEAD, 0, ""),
        (b'{"key":"a","reply":{}}\n', 1, "it must be"),
        (b'{"cassette":9}\n', 1, "its format is 9"),
        (HEAD + b"<<<<<<< ours\n", 2, "a merge conflict"),
        (HEAD + b'{"lm":{"model"', 2, "unexpected end"),
        (HEAD + b"[]\n", 2, "expected an object"),
        (HEAD + b'{"messages":[],"reply":{"text":"a"}}\n', 2, "'lm' is missing"),
        (HEAD + b'{"lm":{},"messages":[],"reply":{"text":"a"}}\n', 2, "'model' is missing"),
        (HEAD + b'{"lm":{"model":"m"},"messages":["0f"],"reply":{"text":"a"}}\n', 2, "'0f'"),
        (HEAD + b'{"lm":{"model":"m"},"messages":[{"me":"a"}],"reply":{"text":"a"}}', 2, "'me'"),
        (
            HEAD + b'{"lm":{"model":"m"},"messages":[],"reply":{"text":1}}\n',
            2,
            "reply is not",
        ),
        (HEAD + b'{"lm":{"model":"m"},"messages":[],"reply":{"text":"a","usage":{"x":1}}}', 2, "x"),
    ],
)
def test_damage_is_reported_with_the_line(
    data: bytes, line: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(data)
    if not line:
        assert read_cassette(path)[0] == {}
        return
    with pytest.raises(CassetteError) as raised:
        read_cassette(path)
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: ")
    assert said in message
    assert "record again" in message


def test_two_replies_to_one_request_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    one, other = (dump_calls([call(reply=reply)]).splitlines()[1] for reply in ("me", "you"))
    path.write_bytes(HEAD + one + b"\n" + one + b"\n")
    assert len(read_cassette(path)[0]) == 1
    path.write_bytes(HEAD + one + b"\n" + other + b"\n")
    with pytest.raises(CassetteError, match="line 2 has another reply"):
        read_cassette(path)


@given(st.data())
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = dump_calls([call(), call("When?")])
    start = data.draw(st.integers(0, len(whole)))
    junk = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl"
    path.write_bytes(whole[:start] + junk + whole[start + 1 :])
    with contextlib.suppress(CassetteError):
        read_cassette(path)


def test_an_incomplete_last_line_is_ignored_on_request(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(dump_calls([call()]) + b'{"lm":{"mod')
    assert len(read_cassette(path, torn=True)[0]) == 1


def test_a_call_of_text_is_written_and_named_as_before() -> None:
    sent = LM("openai/m", base_url="http://host:1/v1", top_p=0.5, temperature=0.0, max_tokens=512)
    messages = (Message("system", "be brief"), Message("user", "hé"))
    asked = RecordedRequest.of(Request(sent, messages, Constraint("grammar", 'root ::= "a"'), 2))
    assert asked.id() == "fd02df8a87a0f0d148883209060006aa4e464c4ff8f292b06ef47f7f92762d99"
    assert dump_calls([RecordedCall(asked, Reply("a"))]).decode() == (
        '{"cassette":1}\n{"constraint":{"grammar":"root ::= \\"a\\""},"lm":{"base_url":'
        '"http://host:1/v1","max_tokens":512,"model":"openai/m","params":{"top_p":0.5},'
        '"temperature":0.0},"messages":[{"system":"be brief"},{"user":"hé"}],"reply":{"text":"a"},'
        '"sample":2}\n'
    )


def test_tools_that_calls_share_are_written_once() -> None:
    tool = ToolSpec("look", "Look it up in the encyclopedia.", '{"type":"object"}')
    recorded = [
        RecordedCall(
            RecordedRequest({"model": "m"}, (Message("user", q),), tools=(tool,)), Reply("a")
        )
        for q in "ab"
    ]
    assert dump_calls(recorded).count(b"encyclopedia") == 1


def test_shared_parts_are_plain_json_lines(tmp_path: Path) -> None:
    long = Message("system", "Answer in one word. " * 9)
    recorded = [
        RecordedCall(RecordedRequest({"model": "m"}, (long, Message("user", q))), Reply("a"))
        for q in "ab"
    ]
    head, shared, *_ = map(orjson.loads, dump_calls(recorded).splitlines())
    assert head == {"cassette": 1}
    assert shared["message"] == {"system": long.content}
