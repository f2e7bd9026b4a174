"""`instrumented`: traces and metrics of a command, if the user or the environment wants them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lmpipe.cli.failures import say_error

if TYPE_CHECKING:
    from lmpipe.integrations.open_telemetry.instrument import Instrumentation

# Where OpenTelemetry sends to; set for all services where a collector runs.
_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


@contextmanager
def instrumented(wanted: bool) -> Iterator[Instrumentation | None]:
    """Make spans and metrics during a block, if they are wanted or the environment asks for them.

    Yields:
        What sends them; None if nothing does.

    Raises:
        ConfigError: if they are wanted and the packages of OpenTelemetry are missing.
    """
    named = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or not (wanted or named):
        yield None
        return
    from lmpipe.errors import ConfigError
    from lmpipe.integrations.open_telemetry.instrument import instrument

    try:
        instrumentation = instrument()
    except ConfigError as error:
        if wanted:
            raise
        # The variable may be meant for other services of this machine.
        say_error(f"{named} is set, but nothing is sent: {error}")
        yield None
        return
    with instrumentation:
        yield instrumentation
