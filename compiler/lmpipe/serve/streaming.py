"""Server-sent events: the outputs of a program while its LM writes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import asdict
from typing import Any

from pydantic_core import to_jsonable_python
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lmpipe.foundation.exact_json import dump_json
from lmpipe.lm.stream_events import Partial, StreamEvent, Thinking, ToolCalled
from lmpipe.modules.stream import Stream
from lmpipe.serve.client_gone import while_connected
from lmpipe.serve.deployment import ServedRun
from lmpipe.serve.running import Answer
from lmpipe.serve.service import Service

_HEARTBEAT = 10.0  # seconds without an event; proxies close silent connections
COMMENT = b": still running\n\n"


class EventStream(Response):
    """A response of server-sent events; the run behind them ends if the client is gone."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        held: ExitStack,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Respond with events, then close what is held for them."""
        more = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(headers={**(headers or {}), **more})
        del self.headers["content-length"]
        self._events, self._held = events, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        body: dict[str, Any] = {"type": "http.response.body", "more_body": True}
        try:
            # A server may take what is sent to a client that is gone without a word.
            with while_connected(receive):
                async with aclosing(self._events) as events:
                    await send(start)
                    async for event in events:
                        await send({**body, "body": event})
        except OSError:
            return  # the client is gone
        finally:
            self._held.close()
        await send({"type": "http.response.body", "body": b""})


async def program_events(
    served: ServedRun,
    stream: Stream[Answer],
    service: Service,
    request_id: str,
    inputs: Mapping[str, Any],
    *,
    everything: bool,
) -> AsyncGenerator[bytes, None]:
    """Tell a run as events: `partial` for outputs, then `result` or `error`.

    With `everything`, also what the LMs are doing.
    """
    try:
        async for event in with_heartbeats(stream):
            if event is None:
                yield COMMENT
            elif everything or isinstance(event, Partial):
                yield server_event(event.kind.replace(" ", "-"), _event_json(event))
        answer = await stream.aresult()
        outputs = served.interface.write(answer.result)
        service.keep(request_id, served, inputs, outputs)
        result = {"outputs": outputs, "run": served.run, **answer.usage()}
        yield server_event("result", result)
    except Exception as error:  # noqa: BLE001 - a program may raise anything
        yield server_event(
            "error", service.errors.problem_of(error, request_id).to_json(request_id)
        )


async def with_heartbeats(
    stream: Stream[Answer], seconds: float = _HEARTBEAT
) -> AsyncGenerator[StreamEvent | None, None]:
    """Yield what happens in a run, and None whenever nothing has happened for a while."""
    events = stream.events()
    while True:
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                event = await anext(events)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if not timer.expired():
                raise  # the run's own
            yield None
        else:
            yield event


def _event_json(event: StreamEvent) -> dict[str, Any]:
    """Return an event as JSON.

    Of text that grows there is only what is new, and at which character it begins. Why an LM is
    asked again may name its server, and is left out.
    """
    place = {"predictor": event.predictor, "call": event.call, "attempt": event.attempt}
    match event:
        case Partial():
            at = len(event.text) - len(event.delta)
            found = {**place, "field": event.field, "offset": at, "delta": event.delta}
            if event.done or not isinstance(event.value, str | None):
                found["value"] = to_jsonable_python(event.value, fallback=str)
            return {**found, "done": event.done}
        case Thinking():
            at = len(event.text) - len(event.delta)
            return {**place, "offset": at, "delta": event.delta}
        case ToolCalled():
            return {**place, "name": event.name}
    about = asdict(event)
    return {**place, **{name: about[name] for name in ("lm", "wait", "cached") if name in about}}


def server_event(kind: str, value: Any) -> bytes:
    """Write one server-sent event; `kind` is empty for one without a name."""
    named = f"event: {kind}\n".encode() if kind else b""
    return b"%sdata: %s\n\n" % (named, dump_json(value))
