"""`inspect_history`: the last LM calls as people read them."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer

import lmpipe
from lmpipe import Message, inspect_history
from lmpipe.errors import ConfigError, LMRequestError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.history import CallHistory
from lmpipe.lm.parts import MediaPart, ReasoningPart, TextPart, ToolCall, ToolResult
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using
from lmpipe.state.usage import Usage

PNG = MediaPart("image", "image/png", b"x" * 12_300)


class Desk(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = lmpipe.Predict("question -> answer")

    def forward(self, question: str) -> lmpipe.Prediction:
        return self.ask(question=question)


def echo(**settings: Any) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(lambda request: f"echo {request.messages[-1].text}", **settings)


def shown(*turns: Message, reply: str | Reply = "yes", **options: Any) -> str:
    """The text of a call without its first line, which has the time."""
    lmpipe.ScriptedLM([reply])(list(turns) or "hello", **options)
    return str(inspect_history(show=False)).partition("\n")[2]


def test_it_prints_the_last_call_as_people_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    lm = lmpipe.ScriptedLM([Reply("echo two", usage=Usage(12, 3, 8), seconds=1.5)])
    lm([Message("system", "Be brief."), Message("user", "two")])
    calls = inspect_history()
    printed = capsys.readouterr().out
    assert printed == f"{calls}\n"
    assert printed.partition("\n")[2] == (
        "[system]\nBe brief.\n\n[user]\ntwo\n\n[reply]\necho two\n\n"
        "(12 prompt tokens (8 of them cached), 3 for the reply, 1.50 s)\n"
    )
    assert ", scripted/scripted\n" in printed


def test_it_returns_the_last_calls_as_records_the_latest_at_the_end() -> None:
    lm = echo()
    for text in ("one", "two", "three"):
        lm(text)
    calls = inspect_history(2, show=False)
    assert [call.request.messages[0].content for call in calls] == ["two", "three"]
    assert [call.reply and call.reply.text for call in calls] == ["echo two", "echo three"]
    assert repr(calls) == "<2 LM calls>"


def test_it_prints_nothing_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    echo()("hello")
    inspect_history(show=False)
    assert capsys.readouterr().out == ""


def test_before_the_first_call_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(inspect_history()) == 0
    assert capsys.readouterr().out == "no LM calls\n"


def test_a_call_of_a_predictor_names_its_path() -> None:
    program = Desk()
    with using(lm=lmpipe.ScriptedLM(["## answer\nyes"])):
        program.bind(program.state())(question="a")
    (call,) = inspect_history(show=False)
    assert (call.predictor, call.role) == ("ask", "task")
    assert str(inspect_history(show=False)).partition("\n")[0].endswith(", scripted/scripted, ask")


def test_a_cached_reply_says_so(tmp_path: Path) -> None:
    lm = echo()
    with using(runtime=Runtime(store=Cache(tmp_path))):
        lm("hello")
        lm("hello")
        text = str(inspect_history(show=False))
    assert "from the cache)" in text


def test_thoughts_tool_calls_and_refusals_are_shown() -> None:
    reply = Reply(
        "Searching.",
        "tool_calls",
        reasoning="I need facts.",
        refusal="not that",
        tool_calls=(ToolCall("c1", "search", '{"q":"x"}'),),
    )
    text = shown(reply=reply)
    assert "[thoughts]\nI need facts.\n\n[reply]\nSearching.\n" in text
    assert 'calls search({"q":"x"})  [c1]\nrefused: not that\n' in text
    assert "(finish tool_calls, " in text


def test_a_cut_reply_says_so() -> None:
    assert "(cut at the limit of tokens, " in shown(reply=Reply("half", "length"))


def test_media_are_shown_by_kind_and_size() -> None:
    at_url = MediaPart("image", "", url="https://host/a.png?api_key=geheimwort")
    turn = Message("user", (TextPart("Look:"), PNG, at_url))
    text = shown(turn)
    assert f"Look:\n{PNG.shown}\n<image at https://host/a.png>\n" in text


def test_the_turns_of_tools_and_thoughts_are_shown() -> None:
    turns = (
        Message("assistant", (ReasoningPart("hm"), ToolCall("c1", "see", "{}"))),
        Message("tool", (ToolResult("c1", (TextPart("here: "), PNG)),)),
    )
    text = shown(*turns)
    assert "[assistant]\nthoughts: hm\ncalls see({})  [c1]\n" in text
    assert f"[tool]\nresult of [c1]: here: {PNG.shown}\n" in text


def test_the_bytes_of_media_in_earlier_turns_are_not_held() -> None:
    data = b"\x89PNG that no other test has"
    with using(runtime=Runtime()):
        turns = [Message("user", (MediaPart("image", "image/png", data),))]
        lm = echo()
        lm([*turns, Message("assistant", "A cat."), Message("user", "Sure?")])
        lm.requests.clear()
        turns.clear()
        gc.collect()
        held = [one for one in gc.get_objects() if isinstance(one, MediaPart) and one.data == data]
    assert held == []


def test_the_bytes_of_media_are_not_kept() -> None:
    echo()([Message("user", (PNG,)), Message("tool", (ToolResult("c", (PNG,)),))])
    (call,) = inspect_history(show=False)
    assert "xxx" not in repr(call)
    assert not any(
        isinstance(part, MediaPart) for turn in call.request.messages for part in turn.content
    )


def test_secrets_of_the_lm_are_hidden() -> None:
    with FakeServer("echo") as server:
        lm = lmpipe.LM(
            "vllm/fake",
            base_url=server.base_url,
            api_key="sk-geheim-1234",
            headers={"X-Team": "verborgen-567"},
        )
        lm("my key is sk-geheim-1234 and verborgen-567")
    text = str(inspect_history(show=False))
    assert "my key is [secret] and [secret]" in text
    assert "geheim-1234" not in text


def test_what_a_terminal_would_obey_is_left_out() -> None:
    assert "red" in (text := shown(reply="\x1b[31mred"))
    assert "\x1b" not in text


def test_a_failed_call_is_shown_with_its_error() -> None:
    with pytest.raises(LMRequestError):
        lmpipe.ScriptedLM([])("hello")
    (call,) = inspect_history(show=False)
    assert call.reply is None
    assert "[user]\nhello\n\n[failed]\nthe script of scripted/scripted ended" in str(
        inspect_history(show=False)
    )


def test_by_default_it_keeps_ten_calls() -> None:
    lm = echo()
    lm.batch([f"{number}" for number in range(30)])
    assert len(inspect_history(100, show=False)) == 10


def test_the_calls_of_an_evaluation_are_not_kept() -> None:
    examples = [lmpipe.Example(question="a", answer="yes").with_inputs("question")]
    with using(lm=lmpipe.ScriptedLM(lambda request: "## answer\nyes")):
        lmpipe.evaluate(lmpipe.Predict("question -> answer"), examples, lambda e, p: True)
    assert len(inspect_history(show=False)) == 0


def test_a_history_that_was_asked_for_keeps_those_too() -> None:
    runtime = Runtime()
    runtime.history.keep(3)
    examples = [
        lmpipe.Example(question=f"{number}", answer="yes").with_inputs("question")
        for number in range(5)
    ]
    lm = lmpipe.ScriptedLM(lambda request: "## answer\nyes")
    with using(lm=lm, runtime=runtime):
        lmpipe.evaluate(lmpipe.Predict("question -> answer"), examples, lambda e, p: True)
        assert len(inspect_history(10, show=False)) == 3


def test_a_history_of_none_keeps_none() -> None:
    runtime = Runtime()
    runtime.history.keep(0)
    with using(runtime=runtime):
        echo()("hello")
        assert len(inspect_history(show=False)) == 0


def test_runtimes_made_of_one_share_its_history() -> None:
    runtime = Runtime()
    with using(runtime=runtime.with_limit(3)):
        echo()("hello")
    with using(runtime=runtime):
        assert len(inspect_history(show=False)) == 1


@pytest.mark.parametrize("number", [0, 1.5, "2"])
def test_a_wrong_number_is_refused(number: Any) -> None:
    with pytest.raises(ConfigError, match=r"inspect_history\(n="):
        inspect_history(number)


def test_threads_add_and_read_at_once() -> None:
    history, lm = CallHistory(), echo()
    request = Request(lm, (Message("user", "hello"),))
    done = threading.Event()

    def add() -> None:
        for _ in range(5000):
            history.add(0.0, request, Reply("yes"), "p", "task")
        done.set()

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not done.is_set():
        assert len(history.last(10)) <= 10
    for thread in threads:
        thread.join()
    assert len(history.last(10)) == 10
