"""Replies of OpenAI-compatible servers in all their forms, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from helpers.byte_server import STREAM, answering, serving
from helpers.fake_server import FakeServer

from lmpipe.errors import LMError, LMRequestError, LMUnavailableError, RefusalError
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.providers.openai_compatible import OpenAICompatibleProvider
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage

Answer = Callable[..., Awaitable[Reply]]


async def ask(url: str, on_text: Callable[[str], None] | None = None, **settings: Any) -> Reply:
    lm = LM("openai/m", base_url=url, **settings)
    provider, request = OpenAICompatibleProvider(lm), Request(lm, (Message("user", "hi"),))
    try:
        if on_text is not None:
            return await provider.stream(request, on_text)
        return await provider.complete(request)
    finally:
        await provider.aclose()


async def ask_raw(body: bytes) -> Reply:
    """Ask a server that answers with these bytes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    async with serving(answering(head % len(body) + body)) as server:
        return await ask(server.url)


async def ask_choice(message: dict[str, Any], finish: Any = "stop", **more: Any) -> Reply:
    choice = {"message": message, "finish_reason": finish}
    return await ask_raw(json.dumps({"choices": [choice], **more}).encode())


async def stream_raw(*lines: bytes, on_text: Callable[[str], None] = lambda _: None) -> Reply:
    """Ask a server that streams these lines."""
    chunks = b"".join(b"%x\r\n%b\n\n\r\n" % (len(line) + 2, line) for line in lines)
    async with serving(answering(STREAM + chunks + b"0\r\n\r\n")) as server:
        return await ask(server.url, on_text)


def lines_of(*deltas: dict[str, Any], finish: str = "stop") -> list[bytes]:
    choices = [{"delta": delta} for delta in deltas] + [{"delta": {}, "finish_reason": finish}]
    lines = [b"data: " + json.dumps({"choices": [choice]}).encode() for choice in choices]
    return [*lines, b"data: [DONE]"]


async def stream(*deltas: dict[str, Any], finish: str = "stop") -> tuple[Reply, list[str]]:
    shown: list[str] = []
    reply = await stream_raw(*lines_of(*deltas, finish=finish), on_text=shown.append)
    return reply, shown


@pytest.fixture(params=["whole", "streamed"])
def answer(request: pytest.FixtureRequest) -> Answer:
    """Ask for a reply with this message, whole or streamed."""

    async def streamed(message: dict[str, Any], finish: str = "stop") -> Reply:
        return (await stream(message, finish=finish))[0]

    return ask_choice if request.param == "whole" else streamed


# --- what comes in place of an answer


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_thoughts_in_a_field_of_their_own_are_the_replys_reasoning(
    answer: Answer, name: str
) -> None:
    reply = await answer({"content": None, name: "Lyon? no"})
    assert (reply.text, reply.reasoning) == ("", "Lyon? no")


@pytest.mark.parametrize("thinking", ["Lyon? no", [{"type": "text", "text": "Lyon? no"}]])
async def test_thoughts_in_a_part_of_the_content_are_the_replys_reasoning(
    answer: Answer, thinking: Any
) -> None:
    parts = [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": "Paris"}]
    reply = await answer({"content": parts})
    assert (reply.text, reply.reasoning) == ("Paris", "Lyon? no")


async def test_the_space_between_thoughts_and_answer_is_neither(answer: Answer) -> None:
    reply = await answer({"content": "\n\nParis", "reasoning_content": "Lyon? no\n"})
    assert (reply.text, reply.reasoning) == ("Paris", "Lyon? no")


async def test_thoughts_in_tags_are_the_replys_reasoning(answer: Answer) -> None:
    reply = await answer({"content": "<think>Lyon? no</think>\n\nParis"})
    assert (reply.text, reply.reasoning) == ("Paris", "Lyon? no")


async def test_a_refusal_is_kept(answer: Answer) -> None:
    reply = await answer({"content": None, "refusal": "I cannot help."})
    assert (reply.text, reply.refusal) == ("", "I cannot help.")


async def test_a_stop_by_the_content_filter_is_a_refusal(answer: Answer) -> None:
    reply = await answer({"content": "Well, "}, "content_filter")
    assert reply.finish == "content_filter"
    assert "content filter" in reply.refusal


@pytest.mark.parametrize("finish", ["tool_calls", "function_call"])
async def test_a_tool_call_is_told(answer: Answer, finish: str) -> None:
    reply = await answer({"content": None, "tool_calls": []}, finish)
    assert (reply.text, reply.finish) == ("", "tool_calls")


async def test_calls_of_tools_are_read_beside_the_text(answer: Answer) -> None:
    function = {"name": "look", "arguments": '{"at": "a"}'}
    call = {"id": "1", "type": "function", "index": 0, "function": function}
    reply = await answer({"content": "I look.", "tool_calls": [call]}, "tool_calls")
    assert (reply.text, reply.tool_calls) == ("I look.", (ToolCall("1", "look", '{"at": "a"}'),))


async def test_a_reply_with_a_tool_call_that_only_stopped_is_a_tool_call(answer: Answer) -> None:
    call = {"id": "1", "function": {"name": "look", "arguments": "{}"}}
    assert (await answer({"content": None, "tool_calls": [call]}, "stop")).finish == "tool_calls"


@pytest.mark.parametrize("call", ["look", {"id": "1", "function": {"arguments": "{}"}}])
async def test_what_is_no_tool_call_is_an_outage(answer: Answer, call: Any) -> None:
    with pytest.raises(LMUnavailableError):
        await answer({"content": None, "tool_calls": [call]}, "tool_calls")


async def test_a_refused_tool_call_does_not_hide_a_cut(answer: Answer) -> None:
    call = {"id": "1", "function": {"name": "look", "arguments": '{"at'}}
    assert (await answer({"content": None, "tool_calls": [call]}, "length")).finish == "length"


@pytest.mark.parametrize("finish", ["length", "max_tokens", "model_length"])
async def test_a_cut_is_told_in_every_servers_words(answer: Answer, finish: str) -> None:
    assert (await answer({"content": "x"}, finish)).finish == "length"


@pytest.mark.parametrize("finish", [None, [], {}, 5])
async def test_a_finish_reason_of_another_type_is_other(finish: Any) -> None:
    assert (await ask_choice({"content": "x"}, finish)).finish == "other"


@pytest.mark.parametrize("wrong", [5, True, {"text": "x"}, [5], [{"text": 5}]])
async def test_content_of_another_type_is_a_refused_request_not_an_outage(
    answer: Answer, wrong: Any
) -> None:
    with pytest.raises(LMRequestError, match="not text"):
        await answer({"content": wrong})


# --- text that is not valid Unicode, and JSON that is not strict


async def test_half_a_character_at_the_end_of_a_reply_is_replaced() -> None:
    reply = await ask_raw(b'{"choices": [{"message": {"content": "hi \\ud83d"}}]}')
    assert reply.text == "hi \ufffd"


async def test_a_character_that_is_split_over_chunks_is_joined() -> None:
    reply, shown = await stream({"content": "hi \ud83d"}, {"content": "\ude00!"})
    assert (reply.text, shown) == ("hi 😀!", ["hi ", "hi 😀!"])


async def test_half_a_character_at_the_end_of_a_stream_is_replaced() -> None:
    reply, shown = await stream({"content": "hi \ud83d"})
    assert (reply.text, shown) == ("hi \ufffd", ["hi "])


async def test_nan_in_a_field_that_nobody_reads_is_no_outage() -> None:
    body = b'{"choices": [{"message": {"content": "x"}, "logprobs": [NaN, -Infinity]}]}'
    assert (await ask_raw(body)).text == "x"


async def test_a_byte_order_mark_is_no_outage() -> None:
    body = b'\xef\xbb\xbf{"choices": [{"message": {"content": "x"}}]}'
    assert (await ask_raw(body)).text == "x"
    chunk = b'\xef\xbb\xbfdata: {"choices": [{"delta": {"content": "x"}}]}'
    assert (await stream_raw(chunk, b"data: [DONE]")).text == "x"


@pytest.mark.parametrize("wrong", [[], -3, "3", {"prompt_tokens": -3}])
async def test_wrong_token_counts_are_unknown(wrong: Any) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": -2, "prompt_tokens_details": wrong}
    assert (await ask_choice({"content": "x"}, usage=usage)).usage == Usage(5, 0, 0)


# --- thoughts in a stream


class Listener:
    """Listens to a stream, also to its thoughts."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def __call__(self, text: str) -> None:
        self.heard.append(("text", text))

    def thoughts(self, text: str) -> None:
        self.heard.append(("thoughts", text))


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_content": "Lyon?"}, {"reasoning_content": " no"}, {"content": "Paris"}],
        [{"reasoning": "Lyon?"}, {"reasoning": " no"}, {"content": "Paris"}],
        [{"content": "<think>Lyon?"}, {"content": " no"}, {"content": "</think>Paris"}],
    ],
)
async def test_a_listener_is_told_the_thoughts(deltas: list[dict[str, Any]]) -> None:
    listener = Listener()
    await stream_raw(*lines_of(*deltas), on_text=listener)
    assert listener.heard[:2] == [("thoughts", "Lyon?"), ("thoughts", "Lyon? no")]
    assert listener.heard[-1] == ("text", "Paris")


async def test_a_listener_is_told_the_calls_of_tools_as_they_arrive() -> None:
    heard: list[tuple[ToolCall, ...]] = []

    class Calls:
        def __call__(self, text: str) -> None: ...

        def tool_calls(self, calls: tuple[ToolCall, ...]) -> None:
            heard.append(calls)

    pieces: list[dict[str, Any]] = [
        {"id": "1", "index": 0, "function": {}},  # nothing to tell before its name
        {"index": 0, "function": {"name": "look", "arguments": '{"at": '}},
        {"index": 0, "function": {"arguments": '"a"}'}},
    ]
    deltas: list[dict[str, Any]] = [{"tool_calls": [piece]} for piece in pieces]
    await stream_raw(*lines_of(*deltas, finish="tool_calls"), on_text=Calls())
    assert [call.arguments for (call,) in heard] == ['{"at": ', '{"at": "a"}']


async def test_the_log_probabilities_of_a_reply_are_read() -> None:
    token = {"token": "a", "logprob": -0.5, "top_logprobs": []}
    choice = {"message": {"content": "a"}, "logprobs": {"content": [token]}}
    assert (await ask_raw(json.dumps({"choices": [choice]}).encode())).logprobs == (token,)


async def test_the_log_probabilities_of_a_stream_are_joined() -> None:
    tokens = [{"token": text, "logprob": -0.5} for text in "ab"]
    choices = [
        {"delta": {"content": token["token"]}, "logprobs": {"content": [token]}} for token in tokens
    ]
    lines = [b"data: " + json.dumps({"choices": [choice]}).encode() for choice in choices]
    reply = await stream_raw(*lines, b"data: [DONE]")
    assert (reply.text, reply.logprobs) == ("ab", tuple(tokens))


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}])
async def test_a_reply_without_log_probabilities_has_none(logprobs: Any) -> None:
    choice = {"message": {"content": "a"}, "logprobs": logprobs}
    assert (await ask_raw(json.dumps({"choices": [choice]}).encode())).logprobs is None


async def test_thoughts_are_not_streamed() -> None:
    pieces = ["<th", "ink>Lyon?", " no</th", "ink>\n\n", "Par", "is"]
    reply, shown = await stream(*({"content": piece} for piece in pieces))
    assert (reply.text, reply.reasoning) == ("Paris", "Lyon? no")
    assert shown == ["Par", "Paris"]


async def test_thoughts_in_a_field_of_their_own_are_not_streamed() -> None:
    deltas = [{"reasoning_content": "Lyon?"}, {"reasoning_content": " no"}, {"content": "Paris"}]
    reply, shown = await stream(*deltas)
    assert (reply.text, reply.reasoning, shown) == ("Paris", "Lyon? no", ["Paris"])


async def test_the_space_after_thoughts_is_not_streamed_either() -> None:
    deltas = [{"reasoning_content": "Lyon?"}, {"content": "\n\n"}, {"content": "Paris"}]
    reply, shown = await stream(*deltas)
    assert (reply.text, shown) == ("Paris", ["Paris"])


async def test_a_model_whose_template_opens_its_thoughts_streams_them_only_once() -> None:
    shown: list[list[str]] = []
    with FakeServer(lambda body: "Lyon ? no </think>\n\nParis it is") as server:
        lm = LM("openai/m", base_url=server.base_url)
        provider, request = OpenAICompatibleProvider(lm), Request(lm, (Message("user", "hi"),))
        for _ in range(2):
            shown.append([])
            reply = await provider.stream(request, shown[-1].append)
        await provider.aclose()
    assert (reply.text, reply.reasoning) == ("Paris it is", "Lyon ? no")
    assert shown[0][-1] == shown[1][-1] == "Paris it is"
    assert all("Paris it is".startswith(text) for text in shown[1])


# --- errors


async def error_of(server: FakeServer, **settings: Any) -> LMError:
    with pytest.raises(LMError) as caught:
        await ask(server.base_url, **settings)
    return caught.value


@pytest.mark.parametrize(
    ("body", "status", "advice"),
    [
        (
            {
                "error": {
                    "message": "Unsupported value: 'temperature' does not support 0 with this "
                    "model. Only the default (1) value is supported.",
                    "param": "temperature",
                }
            },
            "400",
            "temperature=None",
        ),
        (
            {"error": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."},
            "400",
            "max_tokens=None",
        ),
        ({"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}, "422", "seed=None"),
        ({"error": "unknown field top_k"}, "422", "top_k=None"),
    ],
)
async def test_a_refused_optional_parameter_is_named_with_the_setting_that_leaves_it_out(
    body: Any, status: str, advice: str
) -> None:
    with FakeServer() as server:
        server.fail(1, status, body=body)
        settings = {"top_k": 5} if "top_k" in advice else {}
        error = await error_of(server, temperature=0.5, **settings)
    assert isinstance(error, LMRequestError)
    assert f"LM('openai/m', {advice}) leaves it out" in str(error)


async def test_refused_stream_options_are_named_with_the_setting_that_leaves_them_out() -> None:
    with FakeServer() as server:
        server.fail(1, "422", body={"error": "unknown field stream_options"})
        with pytest.raises(LMRequestError, match="stream_options=None"):
            await ask(server.base_url, lambda _: None)


async def test_a_refusal_for_another_reason_names_no_parameter() -> None:
    with FakeServer() as server:
        server.fail(1, "400", body={"error": "the prompt is too long"})
        assert "=None" not in str(await error_of(server))


async def test_a_servers_sentence_ends_with_one_full_stop() -> None:
    with FakeServer() as server:
        server.fail(1, "400", body={"error": "The prompt is too long."})
        assert "The prompt is too long. Check" in str(await error_of(server))


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation", "invalid_prompt"])
async def test_a_prompt_that_a_content_filter_refuses_is_a_refusal(code: str) -> None:
    with FakeServer() as server:
        server.fail(1, "400", body={"error": {"code": code, "message": "the prompt was flagged"}})
        with pytest.raises(RefusalError, match="declined to answer: the prompt was flagged"):
            await ask(server.base_url)


@pytest.mark.parametrize("body", [{"error": "\x1b[2J\x1b]0;t\x07gone\r"}, "\x1b[31mgone"])
async def test_terminal_escapes_of_a_server_reach_no_error(body: Any) -> None:
    with FakeServer() as server:
        server.fail(1, "400", body=body)
        error = await error_of(server)
    assert "answered 400: gone. " in str(error)
    assert all(character.isprintable() for character in str(error))


async def test_terminal_escapes_of_a_page_that_is_no_completion_reach_no_error() -> None:
    with pytest.raises(LMUnavailableError) as caught:
        await ask_raw(b"<html>\x1b[31mred")
    assert "'<html>red'" in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "sent"),
    [("reset", True), ("half", True), ("garbage", True), ("504", True), ("429", False),
     ("503", False)],
)  # fmt: skip
async def test_an_error_tells_whether_the_server_may_have_worked_on_the_request(
    mode: str, sent: bool
) -> None:
    with FakeServer() as server:
        server.fail(1, mode)
        error = await error_of(server)
    assert isinstance(error, LMUnavailableError)
    assert error.sent is sent


async def test_a_request_without_a_connection_was_not_sent() -> None:
    with FakeServer() as server:
        address = server.base_url
    with pytest.raises(LMUnavailableError) as caught:
        await ask(address)
    assert not caught.value.sent


async def test_bytes_that_a_server_repeats_reach_no_error() -> None:
    said = {"error": {"message": "cannot read data:image/png;base64,c2VjcmV0IHBpY3R1cmU= (url)"}}
    with FakeServer() as server:
        server.fail(1, "400", body=said)
        message = str(await error_of(server))
    assert "cannot read data:image/png;base64,… (url)" in message
