"""`observing` and `configure(listeners=…)`: who is told, where, and what a listener may do."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import ConfigError, LMRequestError, LMUnavailableError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.events import (
    AnyEvent,
    Ended,
    LMEnded,
    LMRetried,
    LMStarted,
    ProgramStarted,
    Started,
)
from lmpipe.lm.observing import ListenerWarning, listening
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.settings import configure, using


class Ask(lmpipe.Signature):
    """Answer."""

    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()


class Two(lmpipe.Module):
    def __init__(self) -> None:
        self.first = lmpipe.Predict(Ask)
        self.second = lmpipe.Predict(Ask)

    def forward(self, question: str) -> Ask:
        self.first(question=question)
        return self.second(question=question)


class AsyncTwo(Two):
    async def forward(self, question: str) -> Ask:  # type: ignore[override]
        await asyncio.gather(
            self.first.acall(question=question), self.second.acall(question=question)
        )
        return await self.second.acall(question=question)


def scripted(**settings: Any) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(lambda request: "## answer\nyes", **settings)


@pytest.fixture(autouse=True)
def _uncached() -> Iterator[None]:
    with using(lm=scripted(), runtime=Runtime()):
        yield


def kinds(events: list[AnyEvent]) -> list[str]:
    return [event.kind for event in events]


def test_a_direct_call_of_an_lm_is_told() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        reply = scripted()("hello")
    started, ended = events
    assert isinstance(started, LMStarted)
    assert (started.predictor, started.role, started.parent) == ("", "task", None)
    assert started.request.messages[-1].text == "hello"
    assert isinstance(ended, LMEnded)
    assert (ended.id, ended.reply, ended.error) == (started.id, reply, None)
    assert ended.started is started


def test_a_reply_from_the_cache_is_told_as_such(tmp_path: Any) -> None:
    events: list[AnyEvent] = []
    with using(runtime=Runtime(store=Cache(tmp_path))), lmpipe.observing(events.append):
        lm = scripted()
        lm("hello")
        lm("hello")
    replies = [event.reply for event in events if isinstance(event, LMEnded)]
    assert [reply is not None and reply.cached for reply in replies] == [False, True]


def test_a_failed_call_ends_with_its_error() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append), pytest.raises(LMRequestError) as raised:
        lmpipe.ScriptedLM([])("hello")
    (ended,) = [event for event in events if isinstance(event, LMEnded)]
    assert ended.error is raised.value
    assert ended.reply is None


def test_a_request_that_is_sent_again_is_told() -> None:
    left = [LMUnavailableError("busy")]

    def script(request: Request) -> str:
        if left:
            raise left.pop()
        return "yes"

    events: list[AnyEvent] = []
    runtime = Runtime(retry=RetryPolicy(base=0))
    with using(runtime=runtime), lmpipe.observing(events.append):
        lmpipe.ScriptedLM(script)("hello")
    assert kinds(events) == ["lm started", "lm retried", "lm ended"]
    retried = events[1]
    assert isinstance(retried, LMRetried)
    assert (retried.id, retried.attempt, str(retried.reason)) == (events[0].id, 1, "busy")


def test_the_usage_of_a_call_counts_all_calls_inside() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        Two()(question="x")
    usage = {
        event.kind: event.usage.total.calls
        for event in events
        if isinstance(event, Ended) and event.kind in ("program ended", "predictor ended")
    }
    assert usage == {"predictor ended": 1, "program ended": 2}


@pytest.mark.parametrize("program", [Two(), AsyncTwo()], ids=["threads", "tasks"])
def test_parents_are_right_at_any_concurrency(program: Any) -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        program.batch([{"question": f"question {n}"} for n in range(20)], concurrency=8)
    programs = {e.id: e for e in events if isinstance(e, ProgramStarted)}
    assert len(programs) == 20
    asked = [event for event in events if isinstance(event, LMStarted)]
    assert len(asked) == sum(1 for event in events if isinstance(event, LMEnded)) >= 40
    around = {event.id: event.parent for event in events if isinstance(event, Started)}
    for event in asked:
        predictor = event.parent
        assert predictor is not None
        own = programs[event.root]
        assert around[predictor] == own.id
        assert str(own.inputs["question"]) in event.request.messages[-1].text.splitlines()


def test_only_the_block_is_told() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        pass
    scripted()("hello")
    assert events == []


def test_other_threads_are_not_told() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        thread = threading.Thread(target=lambda: scripted()("hello"))
        thread.start()
        thread.join()
    assert events == []


def test_the_listeners_of_nested_blocks_are_all_told() -> None:
    outer: list[AnyEvent] = []
    inner: list[AnyEvent] = []
    with lmpipe.observing(outer.append):
        with lmpipe.observing(inner.append):
            scripted()("hello")
        scripted()("hello")
    assert (len(outer), len(inner)) == (4, 2)


def test_nobody_listens_after_a_block_that_raised() -> None:
    with pytest.raises(RuntimeError), lmpipe.observing(print):
        raise RuntimeError
    assert listening == []


def test_a_configured_listener_is_told_of_all_threads_until_it_is_replaced() -> None:
    events: list[AnyEvent] = []
    configure(listeners=[events.append])
    try:
        thread = threading.Thread(target=lambda: scripted().batch(["hello"]))
        with using(runtime=Runtime()):
            scripted()("hello")
        assert kinds(events) == ["lm started", "lm ended"]
        runtime, lm = Runtime(), scripted()
        thread = threading.Thread(target=lambda: runtime.complete(_request(lm)))
        thread.start()
        thread.join()
        assert len(events) == 4
    finally:
        configure(listeners=[])
    scripted()("hello")
    assert len(events) == 4
    assert listening == []


def _request(lm: lmpipe.LM) -> Request:
    return Request(lm, (lmpipe.Message("user", "hello"),))


def test_a_listener_that_raises_changes_no_result_and_is_told_of_once() -> None:
    def broken(event: AnyEvent) -> None:
        raise ZeroDivisionError("oops")

    events: list[AnyEvent] = []
    with (
        pytest.warns(ListenerWarning, match="ZeroDivisionError: oops") as warned,
        lmpipe.observing(broken),
        lmpipe.observing(events.append),
    ):
        assert Two()(question="x").answer == "yes"
    assert len(warned) == 1
    assert len(events) == 18


def test_a_warning_that_is_an_error_leaves_the_next_block_clean() -> None:
    def broken(event: AnyEvent) -> None:
        raise ZeroDivisionError("oops")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ListenerWarning), lmpipe.observing(broken):
            scripted()("hello")
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        scripted()("hello")
    assert [event.parent for event in events] == [None, None]


def test_calls_of_a_listener_are_not_told() -> None:
    events: list[AnyEvent] = []

    def asking(event: AnyEvent) -> None:
        events.append(event)
        scripted(name="other")("what was that?")

    with lmpipe.observing(asking):
        scripted()("hello")
    assert kinds(events) == ["lm started", "lm ended"]


def test_a_listener_must_be_callable() -> None:
    not_callable: Any = []
    with (
        pytest.raises(ConfigError, match="give a function that takes an event"),
        lmpipe.observing(not_callable),
    ):
        pass
    with pytest.raises(ConfigError, match="give a function that takes an event"):
        configure(listeners=[not_callable])


def test_vectors_that_are_asked_for_together_are_one_call() -> None:
    from lmpipe.lm.request import embedding_request

    lm = scripted()
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append):
        asyncio.run(Runtime().aembed([embedding_request(lm, text) for text in ("a", "b")]))
    started = events[0]
    assert isinstance(started, LMStarted)
    assert kinds(events) == ["lm started", "lm ended"]
    assert (started.role, len(started.request.messages)) == ("embedder", 2)
