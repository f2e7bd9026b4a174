"""`lmpipe.instrument`: spans of every call with the right parents, and metrics, or nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from helpers.otlp_receiver import Received, otlp_receiver
from helpers.world import recipe

import lmpipe
from lmpipe.errors import LMRequestError, LMUnavailableError, OutputError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Two(lmpipe.Module):
    """Asks twice."""

    def __init__(self) -> None:
        self.first = lmpipe.Predict("question -> answer")
        self.second = lmpipe.Predict("question -> answer")

    def forward(self, question: str) -> str:
        self.first(question=question)
        return self.second(question=question).answer


class AsyncTwo(Two):
    """Asks twice at the same time."""

    async def forward(self, question: str) -> str:  # type: ignore[override]
        _, answer = await asyncio.gather(
            self.first.acall(question=question), self.second.acall(question=question)
        )
        return answer.answer


class Exported:
    """What an application of its own SDK is given."""

    def __init__(self) -> None:
        self._spans, self._metrics = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self._metrics])
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))

    def instrument(self, **options: Any) -> lmpipe.Instrumentation:
        return lmpipe.instrument(
            tracer_provider=self.tracers, meter_provider=self.meters, **options
        )

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def parents(self) -> list[tuple[str, str]]:
        """Each span's name with that of its parent, sorted."""
        names = {span.context.span_id: span.name for span in self.spans}
        return sorted(
            (span.name, names[span.parent.span_id] if span.parent else "") for span in self.spans
        )

    def points(self, name: str) -> list[tuple[dict[str, Any], float]]:
        data = self._metrics.get_metrics_data()
        metrics = [
            metric
            for group in (data.resource_metrics if data else ())
            for scope in group.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return [
            (dict(point.attributes), getattr(point, "value", None) or point.sum)
            for metric in metrics
            for point in metric.data.data_points
        ]


def scripted(reply: str = "[[answer]]\nyes", **settings: Any) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(lambda request: reply, **settings)


@pytest.fixture(autouse=True)
def _uncached() -> Iterator[None]:
    with lmpipe.using(lm=scripted(), runtime=Runtime()):
        yield


@pytest.fixture
def exported() -> Exported:
    return Exported()


TREE = [
    ("chat scripted", "predict first"),
    ("chat scripted", "predict second"),
    ("predict first", "invoke_workflow Two"),
    ("predict second", "invoke_workflow Two"),
    ("invoke_workflow Two", ""),
]


def test_a_program_is_a_tree_of_spans(exported: Exported) -> None:
    with exported.instrument():
        Two()(question="why?")
    assert exported.parents() == sorted(TREE)
    assert len({span.context.trace_id for span in exported.spans}) == 1


async def test_calls_at_the_same_time_have_the_right_parents(exported: Exported) -> None:
    with exported.instrument():
        await asyncio.gather(*(AsyncTwo().acall(question=str(number)) for number in range(8)))
    expected = [tuple(name.replace("Two", "AsyncTwo") for name in pair) for pair in TREE]
    assert exported.parents() == sorted(8 * expected)
    by_trace: dict[int, int] = {}
    for span in exported.spans:
        by_trace[span.context.trace_id] = by_trace.get(span.context.trace_id, 0) + 1
    assert list(by_trace.values()) == [5] * 8


def test_a_batch_and_threads_have_the_right_parents(exported: Exported) -> None:
    with exported.instrument(), ThreadPoolExecutor(4) as pool:
        Two().batch([{"question": str(number)} for number in range(8)])
        for future in [pool.submit(copy_context().run, Two(), question="why?") for _ in range(4)]:
            future.result()
    assert exported.parents() == sorted(12 * TREE)


def test_spans_of_the_application_are_around_and_inside(exported: Exported) -> None:
    tracer = exported.tracers.get_tracer("application")

    class Timed(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = lmpipe.Predict("question -> answer")

        def forward(self, question: str) -> str:
            with tracer.start_as_current_span("own step"):
                return self.ask(question=question).answer

    with exported.instrument(), tracer.start_as_current_span("handler"):
        Timed()(question="why?")
    assert exported.parents() == sorted(
        [
            ("handler", ""),
            ("invoke_workflow Timed", "handler"),
            ("own step", "invoke_workflow Timed"),
            ("predict ask", "own step"),
            ("chat scripted", "predict ask"),
        ]
    )


def test_the_span_around_is_current_again_after_a_call(exported: Exported) -> None:
    with exported.instrument():
        Two()(question="why?")
        assert not trace.get_current_span().get_span_context().is_valid


def test_an_lm_call_tells_model_tokens_and_settings_but_no_content(exported: Exported) -> None:
    lm = lmpipe.ScriptedLM(lambda request: "[[answer]]\nsecret", temperature=0.5, max_tokens=64)
    with exported.instrument(), lmpipe.using(lm=lm):
        lmpipe.Predict("question -> answer")(question="private")
    told = dict(exported.named("chat scripted").attributes or {})
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.provider.name"] == "scripted"
    assert told["gen_ai.request.temperature"] == 0.5
    assert told["gen_ai.request.max_tokens"] == 64
    assert told["gen_ai.usage.input_tokens"] > 0
    assert told["gen_ai.response.finish_reasons"] == ("stop",)
    everything = str([(span.to_json(), span.events) for span in exported.spans])
    assert "private" not in everything
    assert "secret" not in everything


def test_content_is_told_if_it_is_wanted(exported: Exported) -> None:
    with exported.instrument(content=True):
        Two()(question="private")
    lm = next(span for span in exported.spans if span.name == "chat scripted").attributes or {}
    assert '"role": "user"' in str(lm["gen_ai.input.messages"])
    assert "private" in str(lm["gen_ai.input.messages"])
    assert "[[answer]]\\nyes" in str(lm["gen_ai.output.messages"])
    program = exported.named("invoke_workflow Two").attributes or {}
    assert '{\\"question\\": \\"private\\"}' in str(program["gen_ai.input.messages"])


def test_the_environment_can_want_content(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    with exported.instrument():
        Two()(question="private")
    assert "private" in exported.named("invoke_workflow Two").to_json()


def test_a_failure_is_told_by_its_kind_without_its_words(exported: Exported) -> None:
    class Count(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = lmpipe.Predict("question -> count: int")

        def forward(self, question: str) -> int:
            return self.ask(question=question).count

    with exported.instrument(), pytest.raises(OutputError):
        Count()(question="how many?")
    span = exported.named("predict ask")
    assert (span.attributes or {})["error.type"] == "OutputError"
    assert span.status.status_code.name == "ERROR"
    assert span.status.description is None
    assert ({"lmpipe.call": "program", "error.type": "OutputError"}, 1) in exported.points(
        "lmpipe.failures"
    )


def test_tools_and_retrieval_have_spans(exported: Exported) -> None:
    def weather(city: str) -> str:
        """Tell the weather."""
        raise ValueError(f"no such city: {city}")

    replies = iter(
        [
            '[[next_thought]]\nask\n\n[[next_tool]]\nweather\n\n[[next_args]]\n{"city": "Ur"}',
            "[[next_thought]]\ndone\n\n[[next_tool]]\nfinish\n\n[[next_args]]\n{}",
        ]
    )
    corpus = lmpipe.BM25(["Cats purr.", "Dogs bark."])

    class Searching(lmpipe.Module):
        def __init__(self) -> None:
            self.search = lmpipe.Retrieve(corpus, k=1)
            self.act = lmpipe.ReAct("question -> answer", tools=[weather])

        def forward(self, question: str) -> str:
            self.search(query=question)
            return self.act(question=question).answer

    def reply(request: Any) -> str:
        return next(replies, "[[reasoning]]\nx\n[[answer]]\nyes")

    with exported.instrument(), lmpipe.using(lm=lmpipe.ScriptedLM(reply)):
        Searching()(question="cats")
    tool = exported.named("execute_tool weather")
    assert (tool.attributes or {})["error.type"] == "ToolFailed"
    found = [span for span in exported.spans if span.name.startswith("retrieval ")]
    assert [(span.attributes or {})["lmpipe.retrieval.passages"] for span in found] == [1]
    assert any(
        labels["gen_ai.tool.name"] == "weather"
        for labels, _ in exported.points("gen_ai.execute_tool.duration")
    )


def test_a_retry_is_an_event_and_is_counted(exported: Exported) -> None:
    asked: list[int] = []

    def flaky(request: Any) -> str:
        asked.append(1)
        if len(asked) == 1:
            raise LMUnavailableError("overloaded")
        return "[[answer]]\nyes"

    runtime = Runtime(retry=RetryPolicy(attempts=2, base=0))
    with exported.instrument(), lmpipe.using(lm=lmpipe.ScriptedLM(flaky), runtime=runtime):
        lmpipe.Predict("question -> answer")(question="why?")
    (event,) = exported.named("chat scripted").events
    assert event.name == "lmpipe.retry"
    assert exported.points("lmpipe.lm.retries") == [({"error.type": "LMUnavailableError"}, 1)]


def test_calls_tokens_dollars_and_cache_hits_are_counted(exported: Exported, tmp_path: Any) -> None:
    lm = scripted(price=(1.0, 2.0))
    runtime = Runtime(store=Cache(tmp_path))
    with exported.instrument(), lmpipe.using(lm=lm, runtime=runtime):
        for _ in range(3):
            lmpipe.Predict("question -> answer")(question="why?")
    runtime.close()
    calls = {labels["lmpipe.cached"]: n for labels, n in exported.points("lmpipe.lm.calls")}
    assert calls == {False: 1, True: 2}
    tokens = {
        labels["gen_ai.token.type"]: number
        for labels, number in exported.points("gen_ai.client.token.usage")
    }
    ((_, usd),) = exported.points("lmpipe.lm.cost")
    assert usd == pytest.approx((tokens["input"] + 2 * tokens["output"]) / 1e6)


def test_a_refused_call_is_counted_as_a_failure_of_the_lm(exported: Exported) -> None:
    def refuse(request: Any) -> str:
        raise LMRequestError("no")

    with (
        exported.instrument(),
        lmpipe.using(lm=lmpipe.ScriptedLM(refuse)),
        pytest.raises(LMRequestError),
    ):
        Two()(question="why?")
    kinds = {labels["lmpipe.call"] for labels, _ in exported.points("lmpipe.failures")}
    assert kinds == {"lm", "predictor", "program"}


def test_rows_have_traces_of_their_own_that_are_linked(exported: Exported, tmp_path: Any) -> None:
    with exported.instrument():
        run = lmpipe.compile(recipe(), runs=tmp_path)
    compiled = exported.named(f"compile {recipe().name or 'Predict'}")
    assert (compiled.attributes or {})["lmpipe.run"] == run.path.name
    scores = [e for e in compiled.events if e.name == "gen_ai.evaluation.result"]
    assert len(scores) == len(run.candidates)
    rows = [span for span in exported.spans if span.name == "score row"]
    assert rows
    assert all(row.parent is None for row in rows)
    assert {row.links[0].context.trace_id for row in rows} == {compiled.context.trace_id}


def test_nothing_is_told_after_stop(exported: Exported) -> None:
    exported.instrument().stop()
    Two()(question="why?")
    assert exported.spans == ()


def test_configured_listeners_and_the_instrumentation_do_not_replace_each_other(
    exported: Exported,
) -> None:
    events: list[Any] = []
    with exported.instrument():
        lmpipe.configure(listeners=[events.append])
        Two()(question="why?")
        lmpipe.configure(listeners=[])
        Two()(question="why?")
    assert len(exported.spans) == 10
    assert sum(event.kind == "program ended" for event in events) == 1


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with otlp_receiver() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


def test_without_providers_all_goes_where_the_environment_says(receiver: Received) -> None:
    with lmpipe.instrument():
        Two()(question="why?")
    assert [(span.name, receiver.parent_of(span)) for span in receiver.spans][-1] == TREE[-1]
    assert receiver.names() == sorted(name for name, _ in TREE)
    assert receiver.total("lmpipe.lm.calls", lmpipe__cached=False) == 2
    assert receiver.services == {"lmpipe"}


def test_half_a_character_in_a_reply_loses_no_spans(receiver: Received) -> None:
    lm = lmpipe.ScriptedLM(lambda request: "[[answer]]\nyes " + chr(0xD83D))
    with lmpipe.using(lm=lm), lmpipe.instrument(content=True):
        Two()(question="why?")
    assert receiver.names() == sorted(name for name, _ in TREE)
    said = next(span for span in receiver.spans if span.name == "chat scripted").attributes
    assert "yes \N{REPLACEMENT CHARACTER}" in said["gen_ai.output.messages"]


def test_importing_lmpipe_imports_nothing_of_it() -> None:
    code = (
        "import sys, lmpipe; lmpipe.Predict('a -> b'); lmpipe.using; lmpipe.instrument; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"
