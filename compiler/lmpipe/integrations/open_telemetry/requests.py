"""`traced`: a span for each request that a server of programs answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from lmpipe.integrations.open_telemetry.names import ERROR, SCOPE

if TYPE_CHECKING:
    from lmpipe.integrations.open_telemetry.instrument import Instrumentation

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

# Requests of load balancers, of which nobody wants a trace.
_PROBES = ("/health", "/ready")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


def traced(app: App, instrumentation: Instrumentation) -> App:
    """Return an ASGI application that answers each request inside a span.

    The span goes on with the trace of the client, if the request has its context (`traceparent`).
    """
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind, Status, StatusCode

    tracer = instrumentation.tracer_provider.get_tracer(SCOPE)

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in _given(scope)}
        about = {
            "http.request.method": method,
            "url.path": scope["path"],
            "url.scheme": scope.get("scheme", "http"),
        }
        with tracer.start_as_current_span(
            method,
            propagate.extract(carrier),
            SpanKind.SERVER,
            about,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_attribute(ERROR, str(status))
                        span.set_status(Status(StatusCode.ERROR))
                    for name, value in message.get("headers", ()):
                        if attribute := _TOLD.get(bytes(name).lower()):
                            span.set_attribute(attribute, value.decode("latin-1"))
                await send(message)

            try:
                await app(scope, receive, told)
            finally:
                if route := getattr(scope.get("route"), "path", ""):
                    span.set_attribute("http.route", route)
                    span.update_name(f"{method} {route}")

    return answer


# Headers of an answer that lead from a trace to the log, and to the run folder.
_TOLD = {b"x-request-id": "lmpipe.request", b"lmpipe-run": "lmpipe.run"}


def _given(scope: Message) -> list[tuple[bytes, bytes]]:
    return [item for item in scope["headers"] if item[0] in (b"traceparent", b"tracestate")]
