"""`instrument`: send spans and metrics of all calls of the process by OpenTelemetry."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from lmpipe.errors import ConfigError
from lmpipe.lm.observing import listen_always

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from lmpipe.integrations.open_telemetry.export import Providers

# What the instrumentations of other GenAI libraries take, too.
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_YES = ("true", "1", "span_only", "span_and_event")


class Instrumentation:
    """Spans and metrics of all calls of the process, until `stop`; a `with` block stops it too.

    `instrument` makes it.

    Args:
        providers: where the spans and metrics go.
        ends: what stops them, from the last to the first.
    """

    def __init__(self, providers: Providers, ends: list[Callable[[], None]]) -> None:
        self._providers, self._ends = providers, ends

    @property
    def tracer_provider(self) -> TracerProvider:
        """Makes the tracer of the spans."""
        return self._providers.tracers

    def flush(self) -> None:
        """Send what has not been sent yet."""
        self._providers.flush()

    def stop(self) -> None:
        """Make no more spans and metrics, and send those that have not been sent yet."""
        while self._ends:
            self._ends.pop()()
        self._providers.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    content: bool | None = None,
) -> Instrumentation:
    """Make a span of every call from now on, and count calls, tokens, dollars and failures.

    They go to the given providers; without any, to those that the application has set; without
    those, by OTLP over HTTP to where the standard variables `OTEL_…` say, which is
    `http://localhost:4318` by default.

    Args:
        tracer_provider: takes the spans.
        meter_provider: takes the metrics.
        content: whether spans have inputs, prompts, replies, arguments of tools, passages, and
            messages of errors, which are as private as your data are. By default what the variable
            `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says, or not.

    Raises:
        ConfigError: if the packages of OpenTelemetry are missing.
    """
    try:
        from lmpipe.integrations.open_telemetry.export import find_providers
        from lmpipe.integrations.open_telemetry.measures import Measures
        from lmpipe.integrations.open_telemetry.spans import Spans
    except ImportError as error:
        raise ConfigError(
            f"lmpipe.instrument needs the package {error.name}: pip install 'lmpipe[otel]'"
        ) from error
    from lmpipe import __version__
    from lmpipe.integrations.open_telemetry.names import SCOPE

    if content is None:
        content = os.environ.get(_CONTENT, "").lower() in _YES
    providers = find_providers(tracer_provider, meter_provider)
    tracer = providers.tracers.get_tracer(SCOPE, __version__)
    measures = Measures(providers.meters.get_meter(SCOPE, __version__))
    # Metrics first: then their exemplars have the span of the call.
    ends = [listen_always(measures), listen_always(Spans(tracer, with_content=content))]
    return Instrumentation(providers, ends)
