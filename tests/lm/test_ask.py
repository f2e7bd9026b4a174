"""LMs called directly: one reply, a batch, a stream."""

from __future__ import annotations

import asyncio
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer

import lmpipe
from lmpipe.errors import CallError, ConfigError, LMRequestError, LMUnavailableError, RecipeError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.message import Message
from lmpipe.lm.parts import ToolSpec
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.settings import using

SEARCH = {"name": "search", "description": "Search the web.", "parameters": {"type": "object"}}


def echo() -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(lambda request: f"echo {request.messages[-1].text}")


def test_a_text_is_one_user_turn_and_the_reply_prints_as_its_text() -> None:
    lm = echo()
    reply = lm("hello")
    assert isinstance(reply, Reply)
    assert (str(reply), reply.text, reply.usage.prompt_tokens) == ("echo hello", "echo hello", 1)
    assert [request.messages for request in lm.requests] == [(Message("user", "hello"),)]


@pytest.mark.parametrize(
    "turns",
    [
        [Message("system", "Be brief."), Message("user", "hello")],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
    ],
    ids=["messages", "mappings"],
)
def test_a_conversation_is_sent_turn_by_turn(turns: Any) -> None:
    lm = echo()
    lm(turns)
    assert [(m.role, m.content) for m in lm.requests[0].messages] == [
        ("system", "Be brief."),
        ("user", "hello"),
    ]


def test_settings_of_a_call_replace_those_of_the_lm() -> None:
    with FakeServer("echo") as server:
        lm = lmpipe.LM("vllm/fake", base_url=server.base_url, max_tokens=9)
        lm("hello", temperature=0.5, top_p=0.9)
        (body,) = server.bodies
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 0.9, 9)


def test_a_coroutine_asks_with_acall() -> None:
    assert asyncio.run(echo().acall("hello")).text == "echo hello"


def test_a_call_goes_through_the_cache_of_the_runtime(tmp_path: Path) -> None:
    lm = echo()
    with using(runtime=Runtime(store=Cache(tmp_path))):
        first, again, other = lm("hello"), lm("hello"), lm("hello", sample=1)
    assert [reply.cached for reply in (first, again, other)] == [False, True, False]


def test_a_call_uses_the_runtime_that_is_configured_without_importing_settings() -> None:
    import subprocess
    import sys

    script = "from lmpipe.lm.scripted import ScriptedLM; print(ScriptedLM(['yes'])('?'))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "yes\n"


def test_tools_are_sent_and_their_calls_come_back() -> None:
    lm = echo()
    spec = ToolSpec("search", "Search the web.", '{"type":"object"}')
    lm("hello", tools=[{"type": "function", "function": SEARCH}], tool_choice="required")
    assert (lm.requests[0].tools, lm.requests[0].tool_choice) == ((spec,), "required")


def test_a_call_in_a_run_takes_the_number_of_the_runs_sample() -> None:
    lm = echo()
    with scope(sample=3):
        lm("hello")
    assert lm.requests[0].sample == 3


def test_a_call_counts_in_the_maximum_of_the_run() -> None:
    lm = echo()
    with scope(max_calls=1):
        lm("hello")
        with pytest.raises(RecipeError, match=r"scripted/scripted: one run .* more than 1 LM"):
            lm("hello")


def test_a_call_of_an_lm_in_a_program_is_in_the_accounts_of_the_evaluation() -> None:
    class Direct(lmpipe.Module):
        def forward(self, question: str) -> str:
            return lm(question).text

    lm = echo()
    example = lmpipe.Example(question="a", answer="echo a").with_inputs("question")
    result = lmpipe.evaluate(Direct(), [example], lambda e, p: p == e.answer)
    assert (result.score, result.calls) == (1.0, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "give a text, or a list of messages"),
        (7, "an LM was asked 7"),
        ([{"content": "x"}], "message 1: .* is not a message"),
        ([{"role": "robot", "content": "x"}], "message 1: the role 'robot' is none of"),
        (["hello"], "message 1: 'hello' is not a message"),
    ],
)
def test_what_is_no_prompt_is_refused(given: Any, message: str) -> None:
    with pytest.raises(CallError, match=message):
        echo()(given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1}, "no setting 'temprature'; did you mean 'temperature'"),
        ({"temperature": -1}, r"LM\(temperature=-1\)"),
        ({"base_url": "http://x"}, "takes base_url= when it is made"),
        ({"structured": "none"}, "takes structured= when it is made"),
        ({"sample": -1}, r"LM\(sample=-1\)"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_call(settings: Any, message: str) -> None:
    lm = echo()
    with pytest.raises(ConfigError, match=message):
        lm("hello", **settings)
    assert not lm.requests


def test_a_batch_keeps_the_order_of_its_prompts() -> None:
    texts = [f"{number}" for number in range(200)]
    assert [str(reply) for reply in echo().batch(texts)] == [f"echo {text}" for text in texts]


def test_a_batch_runs_at_once_up_to_its_concurrency() -> None:
    with FakeServer("echo", latency=0.05) as server:
        lm = lmpipe.LM("vllm/fake", base_url=server.base_url)
        lm.batch([f"{number}" for number in range(12)], concurrency=4)
        assert server.max_in_flight == 4


def test_a_coroutine_asks_many_with_abatch() -> None:
    replies = asyncio.run(echo().abatch(["a", [{"role": "user", "content": "b"}]]))
    assert [reply.text for reply in replies] == ["echo a", "echo b"]


def refusing(request: Request) -> str:
    if request.messages[0].text == "bad":
        raise LMRequestError("refused")
    return "good"


def test_the_first_error_of_a_batch_is_raised() -> None:
    with pytest.raises(LMRequestError, match="refused"):
        lmpipe.ScriptedLM(refusing).batch(["a", "bad", "b"])


def test_a_batch_may_keep_errors_in_the_place_of_replies() -> None:
    kept = lmpipe.ScriptedLM(refusing).batch(["a", "bad", "b"], return_errors=True)
    assert [str(item) for item in kept] == ["good", "refused", "good"]
    assert isinstance(kept[1], LMRequestError)


@pytest.mark.parametrize("given", ["hello", {"role": "user", "content": "x"}])
def test_one_prompt_is_no_batch(given: Any) -> None:
    with pytest.raises(CallError, match="is one prompt; give a list"):
        echo().batch(given)


def test_a_stream_gives_thoughts_and_text_as_they_come() -> None:
    lm = lmpipe.ScriptedLM(["<think>let me see</think>It is four."])
    stream = lm.stream("2 + 2?")
    pieces = list(stream)
    thoughts = "".join(piece.delta for piece in pieces if piece.thoughts)
    answer = [piece.text for piece in pieces if not piece.thoughts]
    assert thoughts == "let me see"
    assert answer == ["It ", "It is ", "It is four."]
    assert stream.result.text == "It is four."


def test_a_stream_can_be_read_in_a_coroutine() -> None:
    async def read() -> tuple[str, str]:
        stream = echo().stream("hello")
        text = "".join([piece.delta async for piece in stream])
        return text, (await stream.aresult()).text

    assert asyncio.run(read()) == ("echo hello", "echo hello")


class Breaking(lmpipe.ScriptedLM):
    """An LM whose connection is lost once, after some text."""

    async def complete_in_pieces(self, request: Request, on_text: Any) -> Reply:
        reply = await super().complete_in_pieces(request, on_text)
        if len(self.requests) == 1:
            raise LMUnavailableError("connection lost", sent=True)
        return reply


@pytest.mark.parametrize(
    ("script", "deltas"),
    [
        (["one two", "one two three"], [(0, "one "), (0, "two"), (0, " "), (0, "three")]),
        (["uno", "one two"], [(0, "uno"), (1, "one "), (1, "two")]),
        (["one two", "one"], [(0, "one "), (0, "two"), (1, "one")]),
    ],
    ids=["the same text goes on", "another text starts again", "a shorter one too"],
)
def test_after_a_lost_connection(script: list[str], deltas: list[tuple[int, str]]) -> None:
    with using(runtime=Runtime(retry=RetryPolicy(attempts=2, base=0))):
        pieces = list(Breaking(script).stream("count"))
    assert [(piece.attempt, piece.delta) for piece in pieces] == deltas


def test_the_error_of_a_stream_is_raised_at_its_end() -> None:
    stream = lmpipe.ScriptedLM([]).stream("hello")
    with pytest.raises(LMRequestError, match="ended after 0 replies"):
        list(stream)


def test_an_unavailable_server_is_told() -> None:
    with FakeServer("echo") as server:
        server.fail(1, "500")
        with pytest.raises(LMUnavailableError):
            lmpipe.LM("vllm/fake", base_url=server.base_url)("hello")


def test_threads_ask_the_same_lm() -> None:
    lm, texts = echo(), [f"{number}" for number in range(16)]
    replies: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda text=text: replies.update({text: str(lm(text))}))
        for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == {text: f"echo {text}" for text in texts}


def test_an_lm_that_was_pickled_can_be_asked() -> None:
    lm = pickle.loads(pickle.dumps(lmpipe.ScriptedLM(["yes"])))
    assert str(lm("hello")) == "yes"


def test_a_stream_of_a_stored_reply_has_its_thoughts(tmp_path: Path) -> None:
    lm = lmpipe.ScriptedLM([Reply("Four.", reasoning="Two and two.")])
    with lmpipe.using(runtime=Runtime(store=Cache(tmp_path))):
        list(lm.stream("2 + 2?"))
        pieces = list(lm.stream("2 + 2?"))
    assert [(piece.text, piece.thoughts) for piece in pieces] == [
        ("Two and two.", True),
        ("Four.", False),
    ]


@pytest.mark.parametrize("prompts", [5, b"ab", "ab", {"role": "user", "content": "ab"}])
def test_a_batch_of_no_list_is_refused(prompts: Any) -> None:
    with pytest.raises(CallError, match=r"^batch: "):
        lmpipe.ScriptedLM(["x"]).batch(prompts)
