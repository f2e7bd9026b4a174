"""`ScriptedLM`: replies from a script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmpipe.errors import ConfigError, LMRequestError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.message import Message
from lmpipe.lm.parts import MediaPart, TextPart, ToolCall
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM


def ask(lm: ScriptedLM, text: str = "hello there", runtime: Runtime | None = None) -> str:
    request = Request(lm, (Message("user", text),))
    return (runtime or Runtime()).complete(request).text


def test_replies_come_in_order() -> None:
    lm = ScriptedLM(["a", "b"])
    assert [ask(lm), ask(lm)] == ["a", "b"]


def test_a_script_that_is_too_short_is_an_error() -> None:
    lm = ScriptedLM(["a"])
    ask(lm)
    with pytest.raises(LMRequestError, match="ended after 1 reply: add"):
        ask(lm)


def test_a_function_receives_the_request() -> None:
    lm = ScriptedLM(lambda request: request.messages[-1].content.upper())
    assert ask(lm, "x") == "X"
    assert [request.messages[-1].content for request in lm.requests] == ["x"]


def test_tokens_are_words() -> None:
    lm = ScriptedLM(["one two three"])
    usage = Runtime().complete(Request(lm, (Message("user", "hello there"),))).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (2, 3)


def test_a_copy_with_other_settings_follows_the_same_script() -> None:
    lm = ScriptedLM(["a", "b"])
    warm = lm.with_settings(temperature=0.5, top_p=0.9)
    runtime = Runtime()
    assert [ask(lm, runtime=runtime), ask(warm, runtime=runtime)] == ["a", "b"]
    assert [request.lm.temperature for request in lm.requests] == [0.0, 0.5]


def test_different_scripts_are_different_lms() -> None:
    assert ScriptedLM(["a"]) == ScriptedLM(["a"])
    assert ScriptedLM(["a"]) != ScriptedLM(["b"])
    assert ScriptedLM(["a"]) != ScriptedLM(["a"], name="other")


def test_scripts_of_one_name_do_not_mix_in_one_runtime() -> None:
    runtime = Runtime()
    one, two = ScriptedLM(lambda request: "1"), ScriptedLM(lambda request: "2")
    assert [ask(one, runtime=runtime), ask(two, runtime=runtime)] == ["1", "2"]


def test_it_takes_the_settings_of_an_lm() -> None:
    assert ScriptedLM([], max_tokens=7).max_tokens == 7
    with pytest.raises(ConfigError):
        ScriptedLM([], temperature=-1)


@pytest.mark.parametrize("script", ["hello", [5]])
def test_a_script_that_is_no_list_of_replies_is_refused(script: Any) -> None:
    with pytest.raises(ConfigError, match=r"ScriptedLM\(.*\): give a list of replies"):
        ScriptedLM(script)


def test_a_reply_that_is_no_text_is_refused_with_what_was_given() -> None:
    def script(request: Request) -> Any:
        return 5

    with pytest.raises(LMRequestError, match="the script of scripted/scripted gave 5: give a text"):
        ask(ScriptedLM(script))


def test_a_picture_has_no_tokens() -> None:
    lm = ScriptedLM(["one"])
    picture = MediaPart("image", "image/png", b"png png png")
    request = Request(lm, (Message("user", (TextPart("hello there"), picture)),))
    assert Runtime().complete(request).usage.prompt_tokens == 2


def test_a_scripted_tool_call_ends_the_reply() -> None:
    call = ToolCall("1", "look", "{}")
    lm = ScriptedLM([Reply("I look.", tool_calls=(call,))])
    reply = Runtime().complete(Request(lm, (Message("user", "hi"),)))
    assert (reply.finish, reply.tool_calls) == ("tool_calls", (call,))


def test_a_listener_is_told_the_thoughts_before_the_text() -> None:
    heard: list[tuple[str, str]] = []

    class Listener:
        def __call__(self, text: str) -> None:
            heard.append(("text", text))

        def thoughts(self, text: str) -> None:
            heard.append(("thoughts", text))

    request = Request(ScriptedLM(["<think>hm</think>Paris"]), (Message("user", "hi"),))
    Runtime().complete(request, on_text=Listener())
    assert heard[:2] == [("thoughts", "hm"), ("text", "Paris")]


def stored(folder: Path, *lms: ScriptedLM) -> list[str]:
    """Ask LMs one after the other, with one cache."""
    store = Cache(folder)
    texts = [ask(lm, runtime=Runtime(store=store)) for lm in lms]
    store.close()
    return texts


def saying(text: str) -> ScriptedLM:
    return ScriptedLM(lambda request: text)


def test_functions_share_no_replies_in_a_cache(tmp_path: Path) -> None:
    one, two = ScriptedLM(lambda request: "1"), ScriptedLM(lambda request: "2")
    assert stored(tmp_path, one, two) == ["1", "2"]


def test_functions_that_differ_in_their_closures_share_none(tmp_path: Path) -> None:
    assert stored(tmp_path, saying("1"), saying("2")) == ["1", "2"]


def test_a_function_finds_its_own_replies(tmp_path: Path) -> None:
    one, again = saying("1"), saying("1")
    assert stored(tmp_path, one, again) == ["1", "1"]
    assert again.requests == []


def test_functions_of_one_name_share_replies(tmp_path: Path) -> None:
    one = ScriptedLM(lambda request: "1", name="mine")
    two = ScriptedLM(lambda request: "2", name="mine")
    assert stored(tmp_path, one, two) == ["1", "1"]


def test_a_function_is_known_in_another_process(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(
        "import lmpipe\n"
        "NAMES = {'a', 'b', 'c', 'd'}\n"
        "def script(request):\n"
        "    return 'yes' if request.messages[-1].text in {'x', 'y', 'z'} else 'no'\n"
        "print(lmpipe.ScriptedLM(script).source)\n"
    )
    sources = {
        subprocess.run(
            [sys.executable, str(file)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    (source,) = sources
    assert source.strip()


def test_a_changed_copy_is_known_by_the_same_function() -> None:
    lm = saying("1")
    assert lm.with_settings(temperature=0.5).source == lm.source != ""  # type: ignore[attr-defined]


def test_a_script_that_reads_an_iterator_still_has_all_of_it() -> None:
    answers = iter(["1", "2"])
    assert ask(ScriptedLM(lambda request: next(answers))) == "1"
