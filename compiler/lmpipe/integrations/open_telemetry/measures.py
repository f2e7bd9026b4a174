"""`Measures`: a listener that counts calls, tokens, dollars, cache hits and failures."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from lmpipe.integrations.open_telemetry.attributes import Attributes, lm_labels
from lmpipe.integrations.open_telemetry.names import (
    ERROR,
    WORKFLOW,
    error_type,
)
from lmpipe.lm.events import (
    Ended,
    Event,
    LMEnded,
    LMRetried,
    PredictorEnded,
    ProgramEnded,
    RetrievalEnded,
    SandboxEnded,
    ToolEnded,
)

# The bounds that the conventions give for durations in seconds, and for tokens.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))

_CALL = "lmpipe.call"
_KINDS: dict[type[Ended], str] = {
    ProgramEnded: "program",
    PredictorEnded: "predictor",
    LMEnded: "lm",
    ToolEnded: "tool",
    RetrievalEnded: "retrieval",
    SandboxEnded: "sandbox",
}


class Measures:
    """Counts calls, tokens, dollars, cache hits and failures.

    Args:
        meter: makes the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self._operation = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "Duration of calls that reached an LM.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of calls that reached an LM.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._programs = meter.create_histogram(
            "gen_ai.workflow.duration",
            "s",
            "Duration of runs of programs.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tools = meter.create_histogram(
            "gen_ai.execute_tool.duration",
            "s",
            "Duration of calls of tools.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._calls = meter.create_counter(
            "lmpipe.lm.calls", "{call}", "Calls of LMs; lmpipe.cached tells those from a cache."
        )
        self._usd = meter.create_counter(
            "lmpipe.lm.cost", "USD", "Cost of calls that reached an LM whose price is known."
        )
        self._retries = meter.create_counter(
            "lmpipe.lm.retries", "{retry}", "Requests that were sent again."
        )
        self._failures = meter.create_counter(
            "lmpipe.failures", "{failure}", "Calls that failed, by the kind of their error."
        )

    def __call__(self, event: Event) -> None:
        """Take an event."""
        match event:
            case LMEnded():
                self._lm(event)
            case LMRetried(reason=reason):
                self._retries.add(1, {ERROR: error_type(reason)})
            case ProgramEnded(started=started):
                labels: Attributes = {WORKFLOW: started.program, **_error(event)}
                self._programs.record(event.seconds, labels)
            case ToolEnded(started=tool):
                labels = {"gen_ai.tool.name": tool.tool, **_error(event)}
                self._tools.record(event.seconds, labels)
        if isinstance(event, Ended) and (kind := _KINDS.get(type(event))):
            self._count_failure(event, kind)

    def _lm(self, event: LMEnded) -> None:
        labels, reply = lm_labels(event.started), event.reply
        cached = reply is not None and reply.cached
        counted = {**labels, "lmpipe.role": event.started.role, "lmpipe.cached": cached}
        self._calls.add(1, {**counted, **_error(event)})
        if cached:
            return  # nothing was sent, and nothing is paid
        self._operation.record(event.seconds, {**labels, **_error(event)})
        if reply is None:
            return
        usage = reply.usage
        self._tokens.record(usage.prompt_tokens, {**labels, "gen_ai.token.type": "input"})
        if usage.completion_tokens or not event.started.request.embeds:
            self._tokens.record(usage.completion_tokens, {**labels, "gen_ai.token.type": "output"})
        if usd := event.usage.total.fresh_usd:
            self._usd.add(usd, {**labels, "lmpipe.role": event.started.role})

    def _count_failure(self, event: Ended, kind: str) -> None:
        if event.error is not None:
            self._failures.add(1, {_CALL: kind, **_error(event)})
        elif isinstance(event, ToolEnded | SandboxEnded) and event.failed:
            self._failures.add(1, {_CALL: kind, ERROR: "Failed"})


def _error(event: Ended) -> Attributes:
    return {} if event.error is None else {ERROR: error_type(event.error)}
