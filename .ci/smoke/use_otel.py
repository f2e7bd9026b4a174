"""Spans of a program, by OpenTelemetry's own exporter in memory."""

import opentelemetry.sdk.trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

assert opentelemetry.sdk.trace.TracerProvider
assert OTLPSpanExporter
