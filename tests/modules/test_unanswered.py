"""Replies that are no answer: cut at the limit of tokens, refused, or without text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from helpers.fake_server import FakeServer
from helpers.layouts import TEXT_LAYOUTS

from lmpipe.errors import CutError, LMRequestError, OutputError, RefusalError
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import scope
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.modules import Predict
from lmpipe.modules.unanswered import with_more_room
from lmpipe.settings import using
from lmpipe.state.trace import Trace
from lmpipe.state.usage import Usage

WHOLE = {
    "chat": "## a\nParis",
    "plain": "A: Paris",
    "json": '{"a": "Paris"}',
    "xml": "<a>Paris</a>",
}


def cut(text: str = "## a\nPar", *, prompt: int = 10, reasoning: str = "") -> Reply:
    return Reply(text, finish="length", usage=Usage(prompt, 512), reasoning=reasoning)


@contextmanager
def lm_says(script: Any, **settings: Any) -> Iterator[ScriptedLM]:
    lm = ScriptedLM(script, **settings)
    with using(lm=lm, runtime=Runtime()):
        yield lm


# --- cut replies


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
def test_a_cut_reply_is_no_answer_in_any_layout(layout: str) -> None:
    script = [cut(WHOLE[layout]), cut(WHOLE[layout])]
    if layout == "json":
        script = [cut('{"a": "Par'), cut('{"a": "Par')]
    with lm_says(script), pytest.raises(CutError) as raised:
        Predict("q -> a", layout=layout)(q="?")
    assert raised.value.raw == script[1].text


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ('{"a": {"total": 12', "a: dict[str, int]"),
        ('{"a": ["one", "two", "thr', "a: list[str]"),
        ('{"a": 12', "a: int"),
    ],
)
def test_a_cut_json_object_is_not_completed(text: str, outputs: str) -> None:
    with lm_says([cut(text)]), pytest.raises(CutError):
        Predict(f"q -> {outputs}", layout="json", retries=0)(q="?")


def test_a_json_object_that_is_complete_at_the_limit_is_an_answer() -> None:
    with lm_says([cut('{"a": "Paris"}\n   ')]):
        assert Predict("q -> a", layout="json")(q="?").a == "Paris"


def test_a_cut_reply_that_is_streamed_is_no_answer() -> None:
    with lm_says([cut(), cut()]):
        stream = Predict("q -> a").stream(q="?")
        with pytest.raises(CutError):
            list(stream)


def test_a_reply_that_is_cut_in_its_thoughts_gets_eight_times_the_room() -> None:
    script = [cut("", reasoning="Let me think"), WHOLE["chat"]]
    with lm_says(script, max_tokens=100) as lm:
        assert Predict("q -> a")(q="?").a == "Paris"
    assert [request.lm.max_tokens for request in lm.requests] == [100, 800]


def test_no_more_room_is_asked_for_than_the_model_has() -> None:
    pytest.importorskip("litellm")  # its table has the longest reply
    lm = LM("openai/gpt-4o-mini", max_tokens=10000)
    larger = with_more_room(lm, (), cut())
    assert larger is not None
    assert larger.max_tokens == 16384
    assert with_more_room(larger, (), cut()) is None


def test_under_a_budget_a_reply_gets_only_the_room_that_is_reserved_for_it() -> None:
    pytest.importorskip("litellm")  # its table has the context
    lm = LM("openai/o3", max_tokens=9000)
    assert lm.reserved == 8192 + 9000
    reply = cut(prompt=1000)
    larger = with_more_room(lm, (), reply)
    assert larger is not None
    assert larger.max_tokens == 18000
    budgeted = with_more_room(lm, (), reply, reserved=lm.reserved)
    assert budgeted is not None
    assert budgeted.max_tokens == lm.reserved - 1000


def test_a_cut_reply_is_asked_again_with_twice_the_room_and_the_same_question() -> None:
    with lm_says([cut(), WHOLE["chat"]], max_tokens=100) as lm:
        assert Predict("q -> a")(q="?").a == "Paris"
    first, second = lm.requests
    assert (first.lm.max_tokens, second.lm.max_tokens) == (100, 200)
    assert first.messages == second.messages


def test_the_room_doubles_with_each_retry() -> None:
    with lm_says([cut()] * 4, max_tokens=100) as lm, pytest.raises(CutError):
        Predict("q -> a", retries=3)(q="?")
    assert [request.lm.max_tokens for request in lm.requests] == [100, 200, 400, 800]


def test_prompt_and_reply_never_exceed_the_context_that_budgets_reserve() -> None:
    script = [cut(prompt=100)] * 3
    with lm_says(script, max_tokens=100, context=250) as lm, pytest.raises(CutError) as raised:
        Predict("q -> a", retries=2)(q="?")
    assert [request.lm.max_tokens for request in lm.requests] == [100, 150]
    assert "context of 250 tokens" in str(raised.value)


def test_a_prompt_that_the_server_did_not_count_is_counted_by_its_bytes() -> None:
    script = [cut(prompt=0)] * 2
    with lm_says(script, max_tokens=400, context=1000) as lm, pytest.raises(CutError):
        Predict("q -> a")(q="é" * 150)
    size = sum(len(turn.content.encode()) for turn in lm.requests[0].messages)
    assert lm.requests[1].lm.max_tokens == 1000 - size


def test_without_retries_a_cut_reply_is_an_error_at_once() -> None:
    with lm_says([cut()]) as lm, pytest.raises(CutError, match=r"cut at max_tokens=512; raise it"):
        Predict("q -> a", retries=0)(q="?")
    assert len(lm.requests) == 1


def test_the_error_names_the_limit_that_was_sent_last() -> None:
    with lm_says([cut(), cut()], max_tokens=3), pytest.raises(CutError, match="max_tokens=6 "):
        Predict("q -> a")(q="?")


def test_a_limit_by_another_name_is_raised_and_named() -> None:
    with (
        lm_says([cut(), cut()], max_completion_tokens=1000) as lm,
        pytest.raises(CutError, match=r"at max_completion_tokens=2000 .*max_completion_tokens=…"),
    ):
        Predict("q -> a")(q="?")
    assert lm.requests[1].lm.params == {"max_completion_tokens": 2000}


def test_a_limit_of_the_predictor_is_named() -> None:
    with lm_says([cut()]), pytest.raises(CutError, match="at max_tokens=7;"):
        Predict("q -> a", retries=0, max_tokens=7)(q="?")


def test_a_cut_at_the_servers_own_limit_is_not_asked_again() -> None:
    said = r"server's own limit.*max_tokens=…"
    with lm_says([cut()], max_tokens=None) as lm, pytest.raises(CutError, match=said):
        Predict("q -> a")(q="?")
    assert len(lm.requests) == 1


def test_a_reply_that_was_cut_while_the_lm_was_thinking_says_so() -> None:
    thinking = cut("", reasoning="Is it")
    with lm_says([thinking] * 2), pytest.raises(CutError, match="while the LM was thinking"):
        Predict("q -> a")(q="?")


def test_a_server_that_refuses_the_larger_limit_leaves_the_cut_as_the_error() -> None:
    def script(request: Request) -> Reply:
        if request.lm.max_tokens == 100:
            return cut()
        raise LMRequestError("at most 128 tokens", status=400)

    with lm_says(script, max_tokens=100), pytest.raises(CutError, match="at max_tokens=100"):
        Predict("q -> a")(q="?")


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_wrong_key_is_told_even_after_a_cut(asynchronous: bool) -> None:
    def script(request: Request) -> Reply:
        if request.lm.max_tokens == 100:
            return cut()
        raise LMRequestError("no such key", status=401)

    lm = ScriptedLM(script, max_tokens=100)
    predictor = Predict("q -> a", lm=lm)
    with pytest.raises(LMRequestError, match="no such key"):
        await predictor.acall(q="?")


def test_the_trace_tells_that_a_reply_was_cut() -> None:
    trace = Trace()
    with lm_says([cut(), cut()]), scope(trace=trace), pytest.raises(CutError):
        Predict("q -> a")(q="?")
    (step,) = trace.steps
    assert len(step.replies) == 2
    assert step.error.startswith("the reply was cut at max_tokens=1024")


# --- refusals


def test_a_refusal_is_an_error_of_its_own_that_is_not_asked_again() -> None:
    refusal = Reply("", refusal="I cannot help with that.")
    with lm_says([refusal]) as lm, pytest.raises(RefusalError) as raised:
        Predict("q -> a", retries=3)(q="?")
    assert raised.value.raw == "I cannot help with that."
    assert "declined to answer: I cannot help with that." in str(raised.value)
    assert len(lm.requests) == 1


def test_what_a_server_says_in_a_refusal_is_safe_to_print() -> None:
    refusal = Reply("", refusal="I \x1b]0;owned\x07must \x1b[31mnot.")
    with lm_says([refusal]), pytest.raises(RefusalError, match="declined to answer: I must not"):
        Predict("q -> a")(q="?")


def test_text_before_the_content_filter_is_no_answer() -> None:
    filtered = Reply("## a\nWell,", finish="content_filter", refusal="the content filter")
    with lm_says([filtered]), pytest.raises(RefusalError):
        Predict("q -> a")(q="?")


# --- replies without text


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply("", reasoning="It is Paris."), "only 12 characters of reasoning"),
        (Reply("", finish="tool_calls"), "called a tool"),
    ],
)
def test_the_error_says_what_came_instead_of_an_answer(
    reply: Reply, said: str, layout: str
) -> None:
    with lm_says([reply, reply]) as lm, pytest.raises(OutputError, match=said):
        Predict("q -> a", layout=layout)(q="?")
    assert said in lm.requests[1].messages[-1].content
    assert lm.requests[1].messages[-2].content, "some servers refuse empty turns"


# --- thoughts


@pytest.mark.parametrize("layout", TEXT_LAYOUTS)
@pytest.mark.parametrize("opening", ["<think>", ""])
def test_an_answer_in_the_thoughts_is_not_the_answer(layout: str, opening: str) -> None:
    draft = WHOLE[layout].replace("Paris", "Lyon")
    text = f"{opening}Draft:\n{draft}\nno</think>\n\n{WHOLE[layout]}"
    with lm_says([text]):
        assert Predict("q -> a", layout=layout)(q="?").a == "Paris"


@pytest.mark.parametrize(
    ("type_", "value"), [(int, 5), (bool, True), (Literal["yes", "no"], "yes")]
)
def test_thoughts_do_not_disturb_other_types(type_: Any, value: Any) -> None:
    name = getattr(type_, "__name__", "Literal['yes', 'no']")
    name = name if type_ in (int, bool) else "Literal['yes', 'no']"
    text = f"<think>7? no? false?</think>\n## a\n{str(value).lower()}"
    with lm_says([text]):
        assert Predict(f"q -> a: {name}")(q="?").a == value


def test_thoughts_are_never_streamed_as_an_answer() -> None:
    with lm_says(["<think>Lyon ? no </think>\n\n## a\nParis it is"]):
        pieces = list(Predict("q -> a").stream(q="?"))
    assert not any("Lyon" in piece.text for piece in pieces)
    assert pieces[-1].value == "Paris it is"


def test_under_a_budget_no_attempt_gets_more_room_than_is_reserved_for_a_call() -> None:
    pytest.importorskip("litellm")  # its table has the context
    with FakeServer(lambda body: " ".join(map(str, range(50_000)))) as server:
        lm = LM("openai/gpt-4o", base_url=server.base_url, max_tokens=1000)
        with using(lm=lm, runtime=Runtime()), scope(max_calls=6), pytest.raises(CutError):
            Predict("q -> a", retries=5)(q="?")
        rooms = [body["max_tokens"] for body in server.bodies]
    assert rooms[:4] == [1000, 2000, 4000, 8000]
    assert 8000 < max(rooms) < lm.reserved
