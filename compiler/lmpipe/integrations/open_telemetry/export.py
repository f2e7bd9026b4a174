"""Where spans and metrics go: to the providers of the application, or by OTLP."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from lmpipe.errors import ConfigError

_INSTALL = "pip install 'lmpipe[otel]'"
_SERVICE = "service.name"
# What an application that set its own providers does not have.
_UNSET = ("ProxyTracerProvider", "NoOpTracerProvider", "_ProxyMeterProvider", "NoOpMeterProvider")


@dataclass(frozen=True)
class Providers:
    """A provider of tracers and one of meters, and those that end with the instrumentation."""

    tracers: TracerProvider
    meters: MeterProvider
    owned: tuple[Any, ...] = ()

    def flush(self) -> None:
        """Send what has not been sent, if the providers can."""
        for provider in (self.tracers, self.meters):
            flush = getattr(provider, "force_flush", None)
            if flush is not None:
                flush()

    def end(self) -> None:
        """Send what has not been sent, and end the providers that were made here."""
        if not self.owned:
            self.flush()
            return
        # At the same time: each waits for seconds if nobody receives what it sends.
        threads = [threading.Thread(target=provider.shutdown) for provider in self.owned]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def find_providers(tracers: TracerProvider | None, meters: MeterProvider | None) -> Providers:
    """Return the given providers, else those of the application, else ones that send by OTLP.

    Raises:
        ConfigError: if the packages that send are missing.
    """
    tracers = tracers or _set(trace.get_tracer_provider())
    meters = meters or _set(metrics.get_meter_provider())
    owned: list[Any] = []
    if tracers is None:
        if meters is not None:  # who gives one kind wants only this kind
            tracers = trace.NoOpTracerProvider()
        else:
            owned.append(tracers := _sending_tracers())
            owned.append(meters := _sending_meters())
    return Providers(tracers, meters or metrics.NoOpMeterProvider(), tuple(owned))


def _set(provider: Any) -> Any:
    """Return a provider of the whole process, or None if the application set none."""
    return None if type(provider).__name__ in _UNSET else provider


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource

    named = os.environ.get("OTEL_SERVICE_NAME") or _SERVICE in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if named else {_SERVICE: "lmpipe"})


def _sending_tracers() -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider as SDKTracers
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _missing(error) from error
    made: Any = SDKTracers(resource=_resource())
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none":
        made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    provider: TracerProvider = made
    return provider


def _sending_meters() -> MeterProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider as SDKMeters
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    except ImportError as error:
        raise _missing(error) from error
    wanted = os.environ.get("OTEL_METRICS_EXPORTER", "otlp") != "none"
    readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if wanted else []
    provider: MeterProvider = SDKMeters(resource=_resource(), metric_readers=readers)
    return provider


def _missing(error: ImportError) -> ConfigError:
    return ConfigError(f"traces and metrics need the package {error.name}: {_INSTALL}")
