"""A receiver of OTLP over HTTP that reads what it is sent with OpenTelemetry's own messages."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from helpers.local_http import QuietHandler, serving


@dataclass(frozen=True)
class ReceivedSpan:
    """A span that was sent."""

    trace: bytes
    id: bytes
    parent: bytes
    name: str
    kind: int
    attributes: dict[str, Any]
    failed: bool


@dataclass
class Received:
    """What a receiver was sent: spans, and the sums of the points of each metric."""

    url: str
    spans: list[ReceivedSpan] = field(default_factory=list)
    metrics: dict[str, list[tuple[dict[str, Any], float]]] = field(default_factory=dict)
    services: set[str] = field(default_factory=set)

    def names(self) -> list[str]:
        """The names of all spans, sorted."""
        return sorted(span.name for span in self.spans)

    def parent_of(self, span: ReceivedSpan) -> str:
        """The name of the span around another; empty if there is none."""
        return next((item.name for item in self.spans if item.id == span.parent), "")

    def total(self, metric: str, **labels: Any) -> float:
        """The sum of the points of a metric that have these labels, with dots for `__`."""
        wanted = {name.replace("__", "."): value for name, value in labels.items()}
        points = self.metrics.get(metric, [])
        return sum(value for about, value in points if wanted.items() <= about.items())


@contextmanager
def otlp_receiver() -> Iterator[Received]:
    """Receive on a free port of this machine for the length of the block."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
    )

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - a name of the base class
            body = self.body()
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                _take_spans(found, ExportTraceServiceRequest.FromString(body))
            elif self.path == "/v1/metrics":
                _take_metrics(found, ExportMetricsServiceRequest.FromString(body))
            self.send_response(200 if self.path in ("/v1/traces", "/v1/metrics") else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as url:
        found = Received(url)
        yield found


def _take_spans(found: Received, sent: Any) -> None:
    for group in sent.resource_spans:
        found.services.add(_attributes(group.resource.attributes).get("service.name", ""))
        for scope in group.scope_spans:
            for span in scope.spans:
                found.spans.append(
                    ReceivedSpan(
                        span.trace_id,
                        span.span_id,
                        span.parent_span_id,
                        span.name,
                        span.kind,
                        _attributes(span.attributes),
                        span.status.code == 2,
                    )
                )


def _take_metrics(found: Received, sent: Any) -> None:
    for group in sent.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                data = getattr(metric, metric.WhichOneof("data"))
                points = [
                    (_attributes(point.attributes), _number(point)) for point in data.data_points
                ]
                found.metrics[metric.name] = points  # they count from the start


def _number(point: Any) -> float:
    if hasattr(point, "bucket_counts"):
        return float(point.sum)
    return float(getattr(point, point.WhichOneof("value")))


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
