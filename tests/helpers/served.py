"""Programs that tests serve, and clients of the application without a socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Literal

import httpx

import lmpipe
from lmpipe.lm.current import Settings
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.monitoring.feedback import FeedbackFolder
from lmpipe.serve.access_log import AccessLog
from lmpipe.serve.app import ServeApp
from lmpipe.serve.deployment import Deployment, Programs, ServedRun
from lmpipe.serve.options import ServeOptions


class RouteTicket(lmpipe.Signature):
    """Route a ticket to a team."""

    message: str = lmpipe.Input(desc="what the customer wrote")
    urgency: int = lmpipe.Input(default=1, ge=0, le=5)
    team: Literal["billing", "shipping"] = lmpipe.Output()


def route(request: Request) -> str:
    """Reply with the team that the message names, else `billing`."""
    asked = request.messages[-1].text
    return f"[[team]]\n{'shipping' if 'parcel' in asked else 'billing'}"


class Held(lmpipe.Module):
    """Runs until it is cancelled; other threads may wait for its begin and its end."""

    def __init__(self) -> None:
        self.begun, self.ended = threading.Event(), threading.Event()

    async def forward(self, message: str) -> str:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return ""


def served(
    program: Any = None,
    *,
    name: str = "route",
    run: str = "run-a",
    script: Callable[[Request], Any] = route,
    **lm: Any,
) -> ServedRun:
    """A program, by default one that routes tickets, on a scripted LM without a cache."""
    program = lmpipe.Predict(RouteTicket) if program is None else program
    return ServedRun(name, run, program, Settings(lmpipe.ScriptedLM(script, **lm), Runtime()))


def app_of(
    *runs: ServedRun,
    mcp: bool = False,
    access_log: AccessLog | None = None,
    feedback: FeedbackFolder | None = None,
    **options: Any,
) -> ServeApp:
    """An application over runs, each of a program of its own."""
    programs = Programs([Deployment([run], [1.0]) for run in runs or (served(),)])
    return ServeApp(
        programs, ServeOptions(**options), mcp=mcp, access_log=access_log, feedback=feedback
    )


def client_of(app: ServeApp, **settings: Any) -> httpx.AsyncClient:
    """A client of an application, without a socket; errors of the application are raised."""
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", **settings)
