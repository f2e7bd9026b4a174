"""Streams: outputs while the LM writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Literal

import pytest
from helpers.fake_server import FakeServer

import lmpipe
from lmpipe.errors import ConfigError, LMUnavailableError, OutputError
from lmpipe.layouts import layout_named
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scope import Listener, scope
from lmpipe.lm.stream_events import Partial, StreamEvent
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules.stream import FieldReader
from lmpipe.settings import using
from lmpipe.state.trace import Trace


class Route(lmpipe.Signature):
    """Route a ticket."""

    ticket: str = lmpipe.Input()
    team: Literal["billing", "shipping"] = lmpipe.Output()
    tags: list[str] = lmpipe.Output()
    reply: str = lmpipe.Output()


class Summary(lmpipe.Signature):
    """Sum up."""

    reply: str = lmpipe.Input()
    summary: str = lmpipe.Output()


REPLY = """## team
billing

## tags
["late", "angry customer"]

## reply
We will look into it today."""


class Desk(lmpipe.Module):
    def __init__(self) -> None:
        self.route = lmpipe.Predict(Route)
        self.sum_up = lmpipe.Predict(Summary, layout="plain")

    def forward(self, ticket: str) -> Summary:
        return self.sum_up(reply=self.route(ticket=ticket).reply)


class AsyncDesk(Desk):
    async def forward(self, ticket: str) -> Summary:  # type: ignore[override]
        route = await self.route.acall(ticket=ticket)
        return await self.sum_up.acall(reply=route.reply)


def desk_lm() -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(
        lambda request: REPLY if "Route" in request.messages[0].content else "All is well now."
    )


def texts(pieces: Iterable[Partial], predictor: str, field: str) -> list[str]:
    return [p.text for p in pieces if (p.predictor, p.field) == (predictor, field)]


def done(pieces: Iterable[Partial]) -> dict[str, Any]:
    return {f"{p.predictor}.{p.field}": p.value for p in pieces if p.done}


@pytest.mark.parametrize("desk", [Desk(), AsyncDesk()], ids=["sync", "async"])
def test_outputs_of_every_predictor_arrive_as_they_are_written(desk: Desk) -> None:
    with using(lm=desk_lm()):
        stream = desk.bind(desk.state()).stream(ticket="Where is it?")
        pieces = list(stream)
    assert texts(pieces, "sum_up", "summary") == [
        "All",
        "All is",
        "All is well",
        "All is well now.",
        "All is well now.",
    ]
    assert done(pieces) == {
        "route.team": "billing",
        "route.tags": ["late", "angry customer"],
        "route.reply": "We will look into it today.",
        "sum_up.summary": "All is well now.",
    }
    assert stream.result.summary == "All is well now."


def test_deltas_add_up_to_the_text() -> None:
    with using(lm=desk_lm()):
        pieces = [p for p in lmpipe.Predict(Route).stream(ticket="x") if p.field == "reply"]
    assert "".join(p.delta for p in pieces) == pieces[-1].text == "We will look into it today."


def test_the_value_of_an_incomplete_list_is_its_beginning() -> None:
    with using(lm=desk_lm()):
        pieces = [p for p in lmpipe.Predict(Route).stream(ticket="x") if p.field == "tags"]
    assert [p.value for p in pieces] == [
        ["late"],
        ["late", "angry"],
        ["late", "angry customer"],
        ["late", "angry customer"],
    ]


@pytest.mark.parametrize("layout", ["chat", "plain", "json"])
def test_deltas_of_lists_and_objects_add_up_to_the_text(layout: str) -> None:
    class Lists(lmpipe.Signature):
        """List."""

        question: str = lmpipe.Input()
        items: list[dict[str, float]] = lmpipe.Output()
        either: int | str = lmpipe.Output()
        note: str = lmpipe.Output()

    spec = lmpipe.Predict(Lists).spec
    values = {"items": [{"a": 1.5}, {"b c": -20}], "either": 12, "note": "so [1, 2]"}
    reply = layout_named(layout).assistant(spec, values)
    for script in (reply, reply.replace(",", ", ")):
        with using(lm=lmpipe.ScriptedLM([script])):
            pieces = list(lmpipe.Predict(Lists, layout=layout).stream(question="x"))
        for name in ("items", "either", "note"):
            own = [p for p in pieces if p.field == name]
            assert "".join(p.delta for p in own) == own[-1].text
            assert own[-1].done


@pytest.mark.parametrize("layout", ["chat", "json"])
def test_unfinished_numbers_are_not_told_as_values(layout: str) -> None:
    class Numbers(lmpipe.Signature):
        """Count."""

        question: str = lmpipe.Input()
        counts: list[int] = lmpipe.Output()
        flags: dict[str, bool] = lmpipe.Output()
        total: int = lmpipe.Output()

    values = {"counts": [1234, 5678], "flags": {"a": True}, "total": 6912}
    spec, layout_ = lmpipe.Predict(Numbers).spec, layout_named(layout)
    reply, seen = layout_.assistant(spec, values), dict[str, list[Any]]()

    def note(event: StreamEvent) -> None:
        if isinstance(event, Partial):
            seen.setdefault(event.field, []).append(event.value)

    listener = Listener(note)
    reader = FieldReader(spec, layout_, "p", listener)
    for end in range(len(reply) + 1):
        reader(reply[:end])
    assert all(value in ([], [1234], [1234, 5678]) for value in seen["counts"])
    assert all(value in (None, {}, {"a": True}) for value in seen["flags"])
    assert all(value is None for value in seen.get("total", []))


def test_pieces_of_an_unbound_program_carry_the_paths_of_its_predictors() -> None:
    class Two(lmpipe.Module):
        def __init__(self) -> None:
            self.first = lmpipe.Predict("question -> answer")
            self.others = [lmpipe.Predict("question -> answer")]

        def forward(self, question: str) -> str:
            return str(self.others[0](question=self.first(question=question).answer).answer)

    with using(lm=lmpipe.ScriptedLM(["one", "two"])):
        pieces = list(Two().stream(question="x"))
    assert {p.predictor for p in pieces} == {"first", "others[0]"}


def test_an_output_is_done_when_the_next_one_begins() -> None:
    with using(lm=desk_lm()):
        pieces = list(lmpipe.Predict(Route).stream(ticket="x"))
    order = [(p.field, p.done) for p in pieces]
    assert order.index(("team", True)) < order.index(("reply", False))


async def test_a_stream_can_be_read_from_any_event_loop() -> None:
    with using(lm=desk_lm()):
        stream = Desk().stream(ticket="x")
        pieces = [piece async for piece in stream]
    assert pieces[-1].value == "All is well now."
    assert (await stream.aresult()).summary == "All is well now."


def test_a_cached_reply_streams_at_once_and_completely(tmp_path: Any) -> None:
    lm = desk_lm()
    runtime = lmpipe.settings.make_runtime(cache=tmp_path)
    with using(lm=lm, runtime=runtime):
        fresh = list(Desk().stream(ticket="x"))
        again = list(Desk().stream(ticket="x"))
    runtime.close()
    assert len(lm.requests) == 2
    assert done(again) == done(fresh)


def test_a_streamed_run_records_usage_and_trace() -> None:
    trace, calls = Trace(), list[Any]()
    with using(lm=desk_lm()), scope(trace=trace, calls=calls):
        Desk().stream(ticket="x").result  # noqa: B018
    assert [step.predictor for step in trace.steps] == ["Route", "Summary"]
    assert [call.reply.usage.completion_tokens for call in calls] == [16, 4]


def test_a_corrected_reply_is_streamed_as_another_attempt() -> None:
    replies = ["## team\nsales\n\n## tags\n[]\n\n## reply\nno", REPLY]
    with using(lm=lmpipe.ScriptedLM(replies)):
        pieces = list(lmpipe.Predict(Route).stream(ticket="x"))
    assert {p.attempt for p in pieces} == {0, 1}
    first = next(p for p in pieces if p.attempt == 1)
    assert (first.field, first.delta) == ("team", "billing")


def test_concurrent_calls_of_one_predictor_are_numbered() -> None:
    class Twice(lmpipe.Module):
        def __init__(self) -> None:
            self.sum_up = lmpipe.Predict(Summary, layout="plain")

        async def forward(self, reply: str) -> None:
            await asyncio.gather(*(self.sum_up.acall(reply=reply * n) for n in (1, 2)))

    with using(lm=desk_lm()):
        pieces = list(Twice().stream(reply="x"))
    assert {p.call for p in pieces} == {0, 1}
    for call in (0, 1):
        of_call = [p for p in pieces if p.call == call]
        assert "".join(p.delta for p in of_call) == "All is well now."


def test_the_programs_error_is_raised_at_the_end() -> None:
    with using(lm=lmpipe.ScriptedLM(["nothing of use"])):
        stream = lmpipe.Predict(Route, retries=0).stream(ticket="x")
        with pytest.raises(OutputError, match="lacks 'team'"):
            list(stream)
        with pytest.raises(OutputError):
            stream.result  # noqa: B018


def test_leaving_early_cancels_the_run() -> None:
    class Never(lmpipe.ScriptedLM):
        async def complete_in_pieces(self, request: Any, on_text: Any) -> Any:
            on_text("All ")
            await asyncio.Event().wait()

    with using(lm=Never([])), lmpipe.Predict(Summary, layout="plain").stream(reply="x") as stream:
        assert next(stream).text == "All"
    with pytest.raises(StopIteration):
        next(stream)


def test_reading_a_stream_without_await_in_an_async_forward_is_refused() -> None:
    class Wrong(lmpipe.Module):
        def __init__(self) -> None:
            self.route = lmpipe.Predict(Route)

        async def forward(self, ticket: str) -> list[Partial]:
            return list(self.route.stream(ticket=ticket))

    with using(lm=desk_lm()), pytest.raises(ConfigError, match="without await"):
        Wrong()(ticket="x")


# --- over HTTP


def test_a_streamed_reply_has_the_same_text_and_usage_as_a_whole_one() -> None:
    calls: list[Any] = []
    with FakeServer(lambda body: REPLY) as server, scope(calls=calls):
        lm = lmpipe.LM("vllm/m", base_url=server.base_url)
        runtime = Runtime()
        with using(lm=lm, runtime=runtime):
            pieces = list(lmpipe.Predict(Route).stream(ticket="x"))
            plain = lmpipe.Predict(Route)(ticket="x")
        runtime.close()
    assert server.bodies[0]["stream_options"] == {"include_usage": True}
    assert pieces[-1].value == plain.reply
    streamed, whole = (call.reply for call in calls)
    assert (streamed.text, streamed.usage, streamed.fingerprint) == (
        whole.text,
        whole.usage,
        whole.fingerprint,
    )
    assert len([p for p in pieces if p.field == "reply"]) > 4


def test_a_stream_that_breaks_off_is_retried() -> None:
    with FakeServer(lambda body: REPLY) as server:
        server.cut_streams = 1
        runtime = Runtime(retry=RetryPolicy(attempts=2, base=0.001))
        with using(lm=lmpipe.LM("vllm/m", base_url=server.base_url), runtime=runtime):
            pieces = list(lmpipe.Predict(Route).stream(ticket="x"))
        runtime.close()
    assert done(pieces)["Route.reply"] == "We will look into it today."
    assert server.stats()["requests"] == 2


def test_a_stream_that_keeps_breaking_off_is_an_error() -> None:
    with FakeServer(lambda body: REPLY) as server:
        server.cut_streams = 9
        runtime = Runtime(retry=RetryPolicy(attempts=2, base=0.001))
        with (
            using(lm=lmpipe.LM("vllm/m", base_url=server.base_url), runtime=runtime),
            pytest.raises(LMUnavailableError, match="2 attempts"),
        ):
            list(lmpipe.Predict(Route).stream(ticket="x"))
        runtime.close()
