"""`lmpipe serve`: compiled programs over HTTP, until Ctrl-C."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmpipe.cli.failures import say_error
from lmpipe.cli.options import (
    Program,
    ProgramLMOptions,
    RuntimeOptions,
    TargetOptions,
    Trust,
    positive,
    with_option_groups,
)
from lmpipe.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from lmpipe.cli.overrides import Overrides
    from lmpipe.cli.targets import OpenTarget
    from lmpipe.integrations.open_telemetry.instrument import Instrumentation
    from lmpipe.lm.runtime import Runtime
    from lmpipe.monitoring.served_inputs import ServedInputs
    from lmpipe.serve.app import ServeApp
    from lmpipe.serve.deployment import Deployment, ServedRun
    from lmpipe.serve.options import ServeOptions
    from lmpipe.serve.run_source import RunSource
    from lmpipe.serve.server import HttpServer

_WATCH_SECONDS, _COUNT_SECONDS = 2.0, 5.0
_KEYS, _ADMIN_KEYS = "LMPIPE_SERVE_KEYS", "LMPIPE_SERVE_ADMIN_KEYS"

_WANTED = re.compile(r"(?:(?P<name>[^=/\\]+)=)?(?P<target>.+?)(?:@(?P<share>[0-9.]+))?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where a server listens, who may use it, and what a request may take."""

    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; loopback by default.")
    ] = "127.0.0.1"
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Port to listen on; 0 finds a free one."
        ),
    ] = 8000
    public: Annotated[
        bool,
        typer.Option("--public", help="Serve others than this machine without API keys."),
    ] = False
    deadline: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", parser=positive, help="Longest time of a run; 120 by default."
        ),
    ] = 120.0
    max_calls: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most LM calls of a run.")
    ] = None
    max_batch: Annotated[int, typer.Option(metavar="N", min=1, help="Most rows of a batch.")] = (
        1_000
    )
    max_body: Annotated[
        float,
        typer.Option(metavar="MB", parser=positive, help="Largest request; 10 MB by default."),
    ] = 10.0
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            parser=positive,
            help="Time for what runs to end when the server stops; 30 by default.",
        ),
    ] = 30.0
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Swap in a new run of a program when its compile has ended well."
        ),
    ] = False
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep no replies of LMs, on disk or in memory.")
    ] = False
    mcp: Annotated[
        bool,
        typer.Option("--mcp", help="Serve the programs as tools of the MCP too, at /mcp."),
    ] = False
    feedback: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            envvar="LMPIPE_FEEDBACK",
            help="Folder for the last 10,000 answers with their inputs, and the feedback on them.",
        ),
    ] = None
    no_drift: Annotated[
        bool,
        typer.Option(
            "--no-drift",
            help="Do not count in the run folders how many inputs are unlike those of the compile.",
        ),
    ] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Log errors only, no line for each request.")
    ] = False


@with_option_groups
def command(
    *,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders or programs' files, as [NAME=]RUN[@SHARE]. Runs of one name share "
            "its requests.",
        ),
    ],
    program: Program = None,
    trust: Trust = False,
    server: ServerOptions,
    lms: ProgramLMOptions,
    runtime: RuntimeOptions,
) -> None:
    """Serve compiled programs over HTTP until Ctrl-C.

    API keys of clients are in $LMPIPE_SERVE_KEYS, with spaces between them. `/docs` of the server
    describes the programs.
    """
    from lmpipe.cli.overrides import lm_overrides
    from lmpipe.cli.targets import open_runtime

    options = serve_options(server, runtime.concurrency)
    wanted = [parse_wanted(text, program, trust=trust) for text in runs]
    changes = lm_overrides(lms)
    with open_runtime(runtime, cached=not server.no_cache) as instrumentation:
        opened = [OpenedRun.of(item, changes, counted=not server.no_drift) for item in wanted]
        _serve(opened, options, server, instrumentation)


@dataclass(frozen=True)
class Wanted:
    """A run that the command line names: its target, the program's name, its share."""

    options: TargetOptions
    name: str
    share: float


def parse_wanted(text: str, program: Path | None, *, trust: bool) -> Wanted:
    """Parse `[NAME=]RUN[@SHARE]`; a path that exists is taken as it is."""
    from lmpipe.serve.deployment import check_name

    name, target, share = "", text, "1"
    if not Path(text).exists() and (match := _WANTED.fullmatch(text)):
        name, target, share = match["name"] or "", match["target"], match["share"] or "1"
    if name:
        check_name(name)
    try:
        number = float(share)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise ConfigError(f"{text}: the share after @ must be a number above 0, such as @0.1")
    return Wanted(TargetOptions(target=target, program=program, trust=trust), name, number)


def serve_options(server: ServerOptions, concurrency: int) -> ServeOptions:
    """Return the options of a server; keys come from the environment.

    Raises:
        ConfigError: if everyone could use the server, or starlette and uvicorn are missing.
    """
    _check_installed()
    from lmpipe.lm.http.address import is_loopback
    from lmpipe.serve.options import ServeOptions, check_exposure

    keys = tuple(os.environ.get(_KEYS, "").split())
    options = ServeOptions(
        concurrency=concurrency,
        deadline=server.deadline,
        max_calls=server.max_calls,
        max_batch=server.max_batch,
        max_body=round(server.max_body * 1_000_000),
        keys=keys,
        admin_keys=tuple(os.environ.get(_ADMIN_KEYS, "").split()),
        local_only=is_loopback(server.host) and not keys,
    )
    check_exposure(server.host, options, public=server.public)
    return options


@dataclass(frozen=True)
class OpenedRun:
    """A run that was opened: what is served, its share, and where other runs of it are."""

    served: ServedRun
    share: float
    source: RunSource | None

    @staticmethod
    def of(wanted: Wanted, changes: Overrides, *, counted: bool) -> OpenedRun:
        """Open a run that the command line names; its inputs are counted if that is wanted."""
        from lmpipe.cli.targets import declared_recipe, is_run_folder, open_artifact, open_target
        from lmpipe.compiling.run_folder import read_artifact
        from lmpipe.serve.run_source import RunSource
        from lmpipe.settings import current_settings

        options, runtime = wanted.options, current_settings().runtime
        if not is_run_folder(options.target):
            served = _served_run(
                open_target(options, changes), wanted.name, runtime, counted=counted
            )
            return OpenedRun(served, wanted.share, None)
        artifact = read_artifact(options.target)
        declared = declared_recipe(artifact, options)  # runs the program's file, once

        def open_run(folder: Path) -> ServedRun:
            opened = open_artifact(read_artifact(folder), declared, options, changes)
            return _served_run(opened, served.name, runtime, counted=counted)

        opened = open_artifact(artifact, declared, options, changes)
        served = _served_run(opened, wanted.name, runtime, counted=counted)
        folder = artifact.path.resolve().parent
        program = str(artifact.manifest["program"].get("name", ""))
        return OpenedRun(served, wanted.share, RunSource(folder, program, open_run))


def deployments_of(opened: Sequence[OpenedRun]) -> list[Deployment]:
    """Return what answers for each program: the runs of one name share its requests."""
    from lmpipe.serve.deployment import Deployment

    names = dict.fromkeys(item.served.name for item in opened)
    found = [[item for item in opened if item.served.name == name] for name in names]
    return [
        Deployment([item.served for item in runs], [item.share for item in runs]) for runs in found
    ]


def _served_run(opened: OpenTarget, name: str, runtime: Runtime, *, counted: bool) -> ServedRun:
    """Return what a server needs of a target; its name is that of the recipe by default."""
    from lmpipe.cli.targets import attach_servers
    from lmpipe.serve.deployment import AS_DECLARED, ServedRun
    from lmpipe.settings import Settings, using

    with using(lm=opened.student, runtime=runtime):  # a swap comes from another context
        attach_servers(opened)
    settings = Settings(opened.student, runtime, opened.recipe.embedder)
    folder = opened.artifact.path.resolve() if opened.artifact else None
    run = folder.name if folder else AS_DECLARED
    seen = _seen(folder) if folder and counted else None
    made = re.sub(r"[^A-Za-z0-9._-]+", "-", opened.recipe.name)[:100].strip("-._") or "program"
    return ServedRun(name or made, run, opened.program, settings, seen)


def _seen(folder: Path) -> ServedInputs | None:
    """Return what counts the inputs of a run; a damaged profile keeps no run from being served."""
    from lmpipe.monitoring.served_inputs import ServedInputs

    try:
        return ServedInputs.of(folder)
    except ArtifactError as error:
        say_error(str(error))
        return None


def _serve(
    opened: Sequence[OpenedRun],
    options: ServeOptions,
    server: ServerOptions,
    instrumentation: Instrumentation | None,
) -> None:
    from lmpipe.monitoring.feedback import FeedbackFolder
    from lmpipe.serve.access_log import AccessLog
    from lmpipe.serve.app import ServeApp
    from lmpipe.serve.deployment import Programs
    from lmpipe.serve.server import HttpServer

    deployments = deployments_of(opened)
    sources = {item.served.name: item.source for item in opened if item.source is not None}
    access = None if server.quiet else AccessLog()
    feedback = FeedbackFolder(server.feedback) if server.feedback is not None else None
    app = ServeApp(
        Programs(deployments),
        options,
        sources=sources,
        mcp=server.mcp,
        access_log=access,
        feedback=feedback,
    )
    around = None if instrumentation is None else partial(_traced, instrumentation)
    http = HttpServer(app, host=server.host, port=server.port, grace=server.grace, around=around)
    _answer(http, app, deployments, server)
    say_error("stopped")


def _traced(instrumentation: Instrumentation, app: Any) -> Any:
    from lmpipe.integrations.open_telemetry.requests import traced

    return traced(app, instrumentation)


def _answer(
    http: HttpServer, app: ServeApp, deployments: Sequence[Deployment], server: ServerOptions
) -> None:
    """Say where the server is, and answer until it is stopped."""
    from lmpipe.lm.concurrency.loop import run_sync

    _log_to_stderr()
    for item in deployments:
        runs = ", ".join(f"{run['run']} ({run['share']:.0%})" for run in item.describe())
        typer.echo(f"serving {item.name}: {runs}")
    typer.echo(f"  {http.url}/docs")
    say_error("Ctrl-C stops it")
    gc.collect()
    gc.freeze()  # what is loaded stays for as long as the process: the collector need not look
    beside = [app.watch.run(_WATCH_SECONDS)] if server.watch else []
    if not server.no_drift:
        beside.append(app.input_counts.run(_COUNT_SECONDS))
    with _stopping(http):
        # On the loop of the LM calls, so that no request changes threads.
        run_sync(http.serve(*beside))


@contextmanager
def _stopping(http: HttpServer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the server, and a second one what still runs."""
    import signal

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: http.stop()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to_stderr() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    for name, level in (("lmpipe.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False


def _check_installed() -> None:
    try:
        import starlette  # noqa: F401 - only the command needs them
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"lmpipe serve needs the package {error.name}: pip install 'lmpipe[serve]'"
        ) from error
