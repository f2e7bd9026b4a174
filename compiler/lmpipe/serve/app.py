"""`ServeApp`: the ASGI application that answers for programs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Receive, Scope, Send

from lmpipe.errors import ConfigError
from lmpipe.lm.current import current_settings
from lmpipe.modules.module import Module, check_program
from lmpipe.monitoring.feedback import FeedbackFolder
from lmpipe.serve.access_log import AccessLog
from lmpipe.serve.admin import AdminEndpoint
from lmpipe.serve.chat import ChatEndpoints
from lmpipe.serve.deployment import AS_DECLARED, Deployment, Programs, ServedRun
from lmpipe.serve.endpoints import ProgramEndpoints
from lmpipe.serve.error_log import ErrorLog
from lmpipe.serve.feedback import FeedbackEndpoint, KeptAnswers
from lmpipe.serve.gate import Gate
from lmpipe.serve.input_counts import InputCounts
from lmpipe.serve.openapi import OpenAPI
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.requests import json_response
from lmpipe.serve.run_source import RunSource
from lmpipe.serve.running import Slots
from lmpipe.serve.service import Service
from lmpipe.serve.watch import Watch

if TYPE_CHECKING:
    from lmpipe.serve.mcp_server import McpTools


class ServeApp:
    """The ASGI application of a server over programs.

    Args:
        programs: the programs, which may be swapped while it runs.
        options: the limits, and who may use it.
        sources: where runs to swap in come from, by program; without one, none can be.
        access_log: gets a line for each request.
        mcp: whether the programs are tools at `/mcp` too; needs the package of that name.
        feedback: keeps the last answers and the feedback on them.

    Attributes:
        watch: looks for newer runs, while its `run` is awaited.
        input_counts: counts unusual inputs in the run folders, while its `run` is awaited.
        ready: whether the server wants requests; `/ready` tells load balancers.
    """

    def __init__(
        self,
        programs: Programs,
        options: ServeOptions | None = None,
        *,
        sources: Mapping[str, RunSource] | None = None,
        mcp: bool = False,
        access_log: AccessLog | None = None,
        feedback: FeedbackFolder | None = None,
    ) -> None:
        self.programs = programs
        self.options = options or ServeOptions()
        self.slots = Slots(self.options.concurrency)
        self.ready = True
        self._access_log = access_log
        errors = ErrorLog(programs, self.options)
        self._answers = KeptAnswers(feedback, errors) if feedback is not None else None
        self._service = Service(programs, self.options, self.slots, errors, self._answers)
        self._sources = sources or {}
        self.watch = Watch(programs, self._sources, errors)
        self.input_counts = InputCounts(programs, errors)
        self._tools = self._make_tools() if mcp else None
        router = Router(self._routes(), lifespan=self._lifespan)
        self._gate = Gate(router, self.options, errors, access_log, stopping=lambda: not self.ready)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope["app"] = self  # then the router raises errors, which the gate turns into problems
        await self._gate(scope, receive, send)

    def _routes(self) -> Sequence[BaseRoute]:
        programs, chat = ProgramEndpoints(self._service), ChatEndpoints(self._service)
        admin = AdminEndpoint(self.programs, self._sources, self.options)
        feedback = FeedbackEndpoint(self.programs, self._answers)
        openapi = OpenAPI(self.programs, self.options, feedback=self._answers is not None)
        tools = [] if self._tools is None else [Route("/mcp", self._tools.app)]
        return [
            Route("/v1/programs/{name}", programs.answer, methods=["POST"]),
            Route("/v1/programs/{name}/batch", programs.batch, methods=["POST"]),
            Route("/v1/programs/{name}", programs.describe, methods=["GET"]),
            Route("/v1/programs/{name}/runs", admin.swap, methods=["PUT"]),
            Route("/v1/programs", programs.list_programs, methods=["GET"]),
            Route("/feedback", feedback.give, methods=["POST"]),
            Route("/v1/chat/completions", chat.complete, methods=["POST"]),
            Route("/v1/models", chat.models, methods=["GET"]),
            Route("/openapi.json", openapi.document, methods=["GET"]),
            Route("/docs", _docs, methods=["GET"]),
            Route("/", _home, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/ready", self._ready, methods=["GET"]),
            *tools,
        ]

    def _make_tools(self) -> McpTools:
        try:
            from lmpipe.serve.mcp_server import McpTools
        except ImportError as error:
            raise ConfigError(
                f"tools need the mcp package: pip install 'lmpipe[mcp]' ({error})"
            ) from error
        return McpTools(self._service)

    @asynccontextmanager
    async def _lifespan(self, app: object) -> AsyncIterator[None]:
        async with self._tools.sessions.run() if self._tools is not None else nullcontext():
            yield
        if self._access_log is not None:
            self._access_log.flush()
        self.close()

    def close(self) -> None:
        """Write the answers that are kept; a server does so when it stops."""
        if self._answers is not None:
            self._answers.close()

    async def _health(self, request: Request) -> Response:
        """Say that the process answers."""
        return json_response({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        """Say whether the server wants requests."""
        body = {"status": "ready" if self.ready else "stopping", "free": self.slots.free}
        return json_response(body, status=200 if self.ready else 503)


def make_app(
    programs: Mapping[str, Module],
    options: ServeOptions | None = None,
    *,
    mcp: bool = False,
    feedback: str | Path | None = None,
) -> ServeApp:
    """Make the application of a server over programs in Python, on the configured LM.

    Any server of ASGI can run it: `app = make_app({"tickets": program})`, `uvicorn module:app`.

    Args:
        programs: the programs by their names in URLs.
        options: the limits, and who may use it.
        mcp: whether the programs are tools at `/mcp` too.
        feedback: the folder for the last answers and the feedback on them; None keeps neither.

    Raises:
        ConfigError: if there are no programs, or the mcp package is missing.
        CallError: if one is not a program.
    """
    if not programs:
        raise ConfigError("make_app needs a program or more, by the names in URLs")
    settings = current_settings()
    for program in programs.values():
        check_program(program)
    deployments = [
        Deployment([ServedRun(name, AS_DECLARED, program, settings)], [1.0])
        for name, program in programs.items()
    ]
    folder = None if feedback is None else FeedbackFolder(Path(feedback))
    return ServeApp(Programs(deployments), options, mcp=mcp, feedback=folder)


async def _docs(request: Request) -> Response:
    return FileResponse(_PAGE, media_type="text/html", headers=_PAGE_HEADERS)


async def _home(request: Request) -> Response:
    return RedirectResponse("/docs")


_PAGE = Path(__file__).parent / "docs.html"

# The page has its own styles and code, and talks to nobody else.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
