"""`traced`: a span for each request of a server of programs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from helpers.served import app_of

import lmpipe

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lmpipe.integrations.open_telemetry.requests import traced

OUTER_TRACE, OUTER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def spans_of(method: str, path: str, **request: Any) -> dict[str, ReadableSpan]:
    """Send a request to a traced server; return its spans by name."""
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    with lmpipe.instrument(tracer_provider=tracers) as instrumentation:
        transport = httpx.ASGITransport(traced(app_of(), instrumentation))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.request(method, path, **request)
    return {span.name: span for span in exporter.get_finished_spans()}


ASKED = {"message": "Where is my parcel?"}


async def test_the_run_of_a_program_is_inside_its_request() -> None:
    spans = await spans_of("POST", "/v1/programs/route", json=ASKED)
    request = spans["POST /v1/programs/{name}"]
    about = dict(request.attributes or {})
    assert about["http.response.status_code"] == 200
    assert about["lmpipe.run"] == "run-a"
    assert about["lmpipe.request"]
    predictor = spans["predict RouteTicket"]
    assert predictor.parent is not None
    assert predictor.parent.span_id == request.context.span_id


async def test_the_trace_of_the_client_goes_on() -> None:
    headers = {"traceparent": f"00-{OUTER_TRACE}-{OUTER_SPAN}-01"}
    spans = await spans_of("POST", "/v1/programs/route", json=ASKED, headers=headers)
    request = spans["POST /v1/programs/{name}"]
    assert f"{request.context.trace_id:032x}" == OUTER_TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == OUTER_SPAN


async def test_a_problem_has_its_status_and_is_no_fault_of_the_server() -> None:
    spans = await spans_of("POST", "/v1/programs/route", json={"mesage": "a"})
    request = spans["POST /v1/programs/{name}"]
    assert (request.attributes or {})["http.response.status_code"] == 422
    assert request.status.is_unset


async def test_probes_have_no_spans() -> None:
    assert await spans_of("GET", "/health") == {}
