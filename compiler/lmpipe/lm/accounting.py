"""Add an LM call to all accounts of it: of its run, of the meters around, and to the last calls."""

from __future__ import annotations

import time

from lmpipe.lm.call import Call
from lmpipe.lm.history import CallHistory
from lmpipe.lm.metering import current_meter
from lmpipe.lm.model_table import price_of
from lmpipe.lm.request import Reply, Request
from lmpipe.lm.scope import current_scope


def account(
    history: CallHistory, key: str, request: Request, reply: Reply, label: str, started: float
) -> Reply:
    """Account for a call, begun when `time.perf_counter()` was `started`; return its reply."""
    scope = current_scope()
    meter = current_meter()
    if scope.calls is None and meter is None:  # most calls of plain programs
        history.add(started, request, reply, label, scope.role)
        return reply
    lm, role = request.lm, "embedder" if request.embeds else scope.role
    if scope.calls is not None:
        waited = 0.0
        if not reply.cached:
            waited = max(0.0, time.perf_counter() - started - reply.seconds)
        scope.calls.append(Call(key, label, role, lm.model, price_of(lm), reply, waited))
    if meter is not None:
        charge = (label, role, lm, reply.usage, reply.cached, reply.attempts)
        while meter is not None:
            receive, meter = meter
            receive(charge)
    if scope.calls is None or history.everything:
        history.add(started, request, reply, label, role)
    return reply


def note_failed(
    history: CallHistory, request: Request, error: Exception, label: str, started: float
) -> None:
    """Add a call that failed to the last calls; it costs nothing."""
    scope = current_scope()
    if scope.calls is None or history.everything:
        history.add(started, request, None, label, scope.role, str(error))
