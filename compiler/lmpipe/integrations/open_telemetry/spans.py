"""`Spans`: a listener that makes a span of each call."""

from __future__ import annotations

import threading
from contextvars import Token
from dataclasses import dataclass

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode, Tracer

from lmpipe.foundation.unicode_text import valid_unicode, with_valid_texts
from lmpipe.integrations.open_telemetry.attributes import Attributes, closing, opening
from lmpipe.integrations.open_telemetry.names import ERROR, error_type
from lmpipe.lm.events import (
    CandidateScored,
    CheckFailed,
    CompileNoted,
    Ended,
    Event,
    LMRetried,
    Started,
    ToolEnded,
)

_TOOL_FAILED = "ToolFailed"  # the LM is shown why, and the call of the tool raises nothing


@dataclass(frozen=True, slots=True)
class _Open:
    """A span that has not ended, and what makes the span around it current again."""

    span: Span
    token: Token[Context]


class Spans:
    """Makes a span of each call of a program, a predictor, an LM, a tool and so on.

    The span is current in the code of the call, so that spans of other libraries are inside it. A
    context follows tasks and threads as the events do, so parents are right at any concurrency.

    Args:
        tracer: makes the spans.
        with_content: whether spans have what was asked and answered, and messages of errors.
    """

    def __init__(self, tracer: Tracer, *, with_content: bool) -> None:
        self._tracer, self._with_content = tracer, with_content
        self._open: dict[int, _Open] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Ended):
            self._end(event)
        else:
            self._note(event)

    def _start(self, event: Started) -> None:
        begun = opening(event, with_content=self._with_content)
        if begun is None:
            return
        around, links = contexts.get_current(), []
        if begun.apart:
            outer = trace.get_current_span().get_span_context()
            links = [Link(outer)] if outer.is_valid else []
            around = trace.set_span_in_context(INVALID_SPAN, around)
        span = self._tracer.start_span(
            begun.name,
            around,
            SpanKind.CLIENT if begun.client else SpanKind.INTERNAL,
            self._sendable(begun.attributes),
            links,
            start_time=_nanoseconds(event.at),
        )
        token = contexts.attach(trace.set_span_in_context(span, around))
        with self._lock:
            self._open[event.id] = _Open(span, token)

    def _end(self, event: Ended) -> None:
        with self._lock:
            opened = self._open.pop(event.id, None)
        if opened is None:
            return
        contexts.detach(opened.token)
        span = opened.span
        if span.is_recording():
            closed = closing(event, with_content=self._with_content)
            span.set_attributes(self._sendable(closed))
            if event.error is not None:
                span.set_attribute(ERROR, error_type(event.error))
                span.set_status(Status(StatusCode.ERROR, self._said(event.error)))
            elif isinstance(event, ToolEnded) and event.failed:
                span.set_attribute(ERROR, _TOOL_FAILED)
                span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(event.at))

    def _note(self, event: Event) -> None:
        """Add something that happened during a call to its span."""
        with self._lock:
            opened = self._open.get(event.id)
        if opened is None:
            return
        at = _nanoseconds(event.at)
        match event:
            case LMRetried(attempt=attempt, wait=wait, reason=reason):
                about: Attributes = {
                    "lmpipe.attempt": attempt,
                    "lmpipe.wait": wait,
                    ERROR: error_type(reason),
                }
                opened.span.add_event("lmpipe.retry", about, at)
            case CheckFailed(predictor=predictor, check=check):
                said: Attributes = {"lmpipe.predictor": predictor, "lmpipe.unmet": check.unmet}
                if self._with_content:
                    said["lmpipe.feedback"] = valid_unicode(check.feedback)
                opened.span.add_event("lmpipe.check_failed", said, at)
            case CandidateScored(candidate=candidate, best=best):
                score: Attributes = {
                    "gen_ai.evaluation.name": "validation",
                    "gen_ai.evaluation.score.value": candidate.score,
                    "lmpipe.candidate": candidate.number,
                    "lmpipe.best": best,
                }
                opened.span.add_event("gen_ai.evaluation.result", score, at)
            case CompileNoted(note=note):
                opened.span.add_event("lmpipe.note", {"lmpipe.note": note}, at)

    def _said(self, error: BaseException) -> str | None:
        # A message may quote the inputs, or what an LM replied.
        return valid_unicode(str(error)) if self._with_content else None

    def _sendable(self, attributes: Attributes) -> Attributes:
        # OTLP takes no halves of characters: with one, the spans of a whole batch would be lost.
        if not self._with_content:
            return attributes
        valid: Attributes = with_valid_texts(attributes)
        return valid


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
