"""What a stream tells beside the outputs: what predictors and their LMs are doing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers.fake_server import FakeServer

import lmpipe
from lmpipe.errors import OutputError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.parts import ToolCall
from lmpipe.lm.request import Reply
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.stream_events import (
    Asked,
    Finished,
    Partial,
    Replying,
    Retrying,
    StreamEvent,
    Thinking,
    ToolCalled,
)
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.settings import using
from lmpipe.state.usage import Usage


class Route(lmpipe.Signature):
    """Route a ticket."""

    ticket: str = lmpipe.Input()
    team: Literal["billing", "shipping"] = lmpipe.Output()


REPLY = "## team\nbilling"


def events_of(script: Any, **options: Any) -> list[StreamEvent]:
    with using(lm=lmpipe.ScriptedLM(script)):
        return list(lmpipe.Predict(Route, **options).stream(ticket="x").events())


def kinds(events: Iterable[StreamEvent]) -> list[str]:
    """The kinds of events, each once where it follows itself."""
    found = [event.kind for event in events]
    return [kind for kind, before in zip(found, [None, *found], strict=False) if kind != before]


def test_a_call_is_asked_replied_to_and_finished() -> None:
    events = events_of([REPLY])
    assert kinds(events) == ["asked", "replying", "partial", "finished"]
    assert events[0] == Asked(predictor="Route", call=0, attempt=0, lm="scripted/scripted")


def test_iterating_over_the_stream_itself_gives_outputs_alone() -> None:
    with using(lm=lmpipe.ScriptedLM([REPLY])):
        pieces = list(lmpipe.Predict(Route).stream(ticket="x"))
    assert all(isinstance(piece, Partial) for piece in pieces)


def test_events_can_be_read_in_a_coroutine() -> None:
    async def read() -> list[StreamEvent]:
        with using(lm=lmpipe.ScriptedLM([REPLY])):
            stream = lmpipe.Predict(Route).stream(ticket="x")
            return [event async for event in stream.events()]

    assert kinds(asyncio.run(read())) == ["asked", "replying", "partial", "finished"]


def test_thoughts_are_told_before_the_answer() -> None:
    events = events_of([f"<think>they ask about money</think>{REPLY}"])
    thoughts = [event for event in events if isinstance(event, Thinking)]
    assert "".join(event.delta for event in thoughts) == "they ask about money"
    assert thoughts[-1].text == "they ask about money"
    assert kinds(events) == ["asked", "replying", "thinking", "partial", "finished"]


def test_thoughts_that_were_streamed_are_not_told_again() -> None:
    class Spaced(lmpipe.ScriptedLM):
        async def complete_in_pieces(self, request: Any, on_text: Any) -> Reply:
            on_text.thoughts("hm ")
            return Reply(REPLY, reasoning="hm")

    with using(lm=Spaced([])):
        events = list(lmpipe.Predict(Route).stream(ticket="x").events())
    assert [event.text for event in events if isinstance(event, Thinking)] == ["hm "]


def test_an_unreadable_reply_is_asked_for_again_with_the_reason() -> None:
    events = events_of(["no idea", REPLY])
    (retrying,) = [event for event in events if isinstance(event, Retrying)]
    assert (retrying.attempt, retrying.wait) == (0, 0.0)
    assert "team" in retrying.reason
    assert [event.attempt for event in events if isinstance(event, Asked)] == [0, 1]
    assert [event.attempt for event in events if isinstance(event, Replying)] == [0, 1]


def test_a_cut_reply_is_asked_for_again_with_the_reason() -> None:
    events = events_of([Reply("## te", "length", usage=Usage(5, 3)), REPLY])
    (retrying,) = [event for event in events if isinstance(event, Retrying)]
    assert retrying.reason == "the reply was cut at the limit of tokens"


def test_an_unavailable_server_is_told_with_the_wait() -> None:
    runtime = Runtime(retry=RetryPolicy(attempts=2, base=0))
    with FakeServer(lambda body: REPLY) as server:
        server.fail(1, "503", retry_after=0.01)
        lm = lmpipe.LM("vllm/fake", base_url=server.base_url)
        with using(lm=lm, runtime=runtime):
            events = list(lmpipe.Predict(Route).stream(ticket="x").events())
        runtime.close()
    assert kinds(events) == ["asked", "retrying", "replying", "partial", "finished"]
    (retrying,) = [event for event in events if isinstance(event, Retrying)]
    assert "answered 503" in retrying.reason
    assert retrying.wait == 0.01


def test_a_replica_that_is_away_is_told_before_another_is_asked() -> None:
    runtime = Runtime(retry=RetryPolicy(attempts=1))
    with FakeServer(lambda body: REPLY) as server:
        gone = "http://127.0.0.1:9/v1"
        lm = lmpipe.LM("vllm/fake", base_url=[gone, server.base_url])
        with using(lm=lm, runtime=runtime):
            told = [
                event
                for number in range(30)  # one of these instructions goes to the first replica
                for event in lmpipe.Predict(Route, instruction=f"{number}")
                .stream(ticket="x")
                .events()
                if isinstance(event, Retrying)
            ]
        runtime.close()
    assert [event.wait for event in told] == [0.0]


def test_the_tools_that_an_lm_calls_are_told() -> None:
    call = ToolCall("c1", "search", '{"q":"x"}')
    events = events_of([Reply(REPLY, tool_calls=(call,))])
    assert (
        ToolCalled(predictor="Route", call=0, attempt=0, name="search", arguments='{"q":"x"}')
        in events
    )


def test_the_end_tells_the_usage_of_all_replies() -> None:
    events = events_of([Reply("no idea", usage=Usage(5, 3)), Reply(REPLY, usage=Usage(7, 2))])
    assert events[-1] == Finished(
        predictor="Route", call=0, attempt=1, usage=Usage(12, 5), cached=False
    )


def test_a_cached_reply_tells_the_same_kinds_and_that_it_was_cached(tmp_path: Path) -> None:
    with using(runtime=Runtime(store=Cache(tmp_path))):
        first = events_of([REPLY])
        again = events_of([REPLY])
    assert kinds(first) == kinds(again)
    assert isinstance(again[-1], Finished)
    assert again[-1].cached


def test_a_call_that_fails_has_no_finished() -> None:
    with using(lm=lmpipe.ScriptedLM(lambda request: "no idea")):
        events = lmpipe.Predict(Route, retries=0).stream(ticket="x").events()
        assert next(events).kind == "asked"
        with pytest.raises(OutputError):
            list(events)


def test_events_of_several_predictors_have_their_paths_and_numbers() -> None:
    class Two(lmpipe.Module):
        def __init__(self) -> None:
            self.first = lmpipe.Predict(Route)
            self.second = lmpipe.Predict(Route)

        def forward(self, ticket: str) -> Route:
            self.first(ticket=ticket)
            return self.second(ticket=ticket)

    with using(lm=lmpipe.ScriptedLM(lambda request: REPLY)):
        events = list(Two().stream(ticket="x").events())
    asked = [(event.predictor, event.call) for event in events if isinstance(event, Asked)]
    assert asked == [("first", 0), ("second", 1)]


def test_a_text_beside_a_tool_call_is_no_other_attempt() -> None:
    call = ToolCall("1", "Route", '{"team": "billing"}')
    reply = Reply(
        "The ticket is about money, so I call the tool.", "tool_calls", tool_calls=(call,)
    )
    events = events_of([reply], layout="tools")
    assert {event.attempt for event in events} == {0}
    partials = [event for event in events if isinstance(event, Partial)]
    assert [partial.done for partial in partials].count(True) == 1


def test_thoughts_of_a_stored_reply_are_told_before_its_text(tmp_path: Path) -> None:
    lm = lmpipe.ScriptedLM([Reply(REPLY, reasoning="Money is mentioned.")])
    with using(runtime=Runtime(store=Cache(tmp_path)), lm=lm):
        first, second = (list(lmpipe.Predict(Route).stream(ticket="x").events()) for _ in range(2))
    assert kinds(first) == kinds(second)
