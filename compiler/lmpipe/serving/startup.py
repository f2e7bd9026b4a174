"""Start a vLLM server and wait until it answers."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

from lmpipe.errors import ConfigError, ServerError
from lmpipe.serving.causes import NO_MODEL, PORT_IN_USE
from lmpipe.serving.find import find_vllm
from lmpipe.serving.process import GuardedProcess, log_file
from lmpipe.serving.server import VLLMServer
from lmpipe.serving.spec import KEY_VARIABLE, ServerSpec

# Seconds between health checks while a server starts: few at first, then more.
_FIRST_PAUSE, _MAX_PAUSE = 0.02, 0.2

# Lines of vLLM's log, and the stages of its startup that they report.
_STAGES = (
    (re.compile(r"\bversion (\d[\w.]*)"), "vLLM {}"),
    (re.compile(r"Resolved architecture: (\w+)"), "architecture {}"),
    (re.compile(r"Initializing a V1 LLM engine"), "starting its engine"),
    (re.compile(r"Starting to load model"), "loading its weights"),
    (re.compile(r"Loading \w+ checkpoint shards: +(\d+)%"), "loading its weights, {} %"),
    (re.compile(r"KV cache size: ([\d,]+) tokens"), "KV cache for {} tokens"),
    (re.compile(r"Capturing CUDA graph|Dynamo bytecode transform"), "compiling for this GPU"),
    (re.compile(r"Starting vLLM server|Available routes are"), "starting its HTTP server"),
)


async def start_server(
    spec: ServerSpec,
    *,
    on_progress: Callable[[str], None] | None = None,
    timeout: float = 600,  # noqa: ASYNC109 - a start that times out is also cleaned up
) -> VLLMServer:
    """Start a server and wait until it answers.

    The server ends when it is stopped, and when this process ends, however that happens.

    Args:
        spec: the server's model, address and resources.
        on_progress: called with the startup stage, in a few words.
        timeout: how long to wait, in seconds.

    Raises:
        ServerError: if it does not start; the message has the cause and its last lines.
        ConfigError: if vLLM is not found.
    """
    command = spec.command or find_vllm().command
    _check_model(spec)
    port = _choose_port(spec)
    environment = spec.environment(os.environ)
    log = log_file(spec.served_name)
    process = GuardedProcess(spec.argv(command, port), environment=environment, log=log)
    server = VLLMServer(
        f"http://{spec.url_host}:{port}/v1",
        spec.served_name,
        api_key=environment.get(KEY_VARIABLE) or None,
        spec=spec,
        process=process,
    )
    try:
        async with asyncio.timeout(timeout):
            await _wait_until_healthy(server, process, on_progress or (lambda _: None))
            await _check_identity(server)
    except TimeoutError as error:
        failure = server.failure(f"did not answer within {timeout:g} seconds")
        await server.stop()
        raise failure from error
    except BaseException:
        await server.stop()
        raise
    return server


def _check_model(spec: ServerSpec) -> None:
    """Refuse a missing folder: vLLM would take it for a hub name, and fail only much later."""
    if spec.model.startswith(("/", "./", "../", "~")):
        path = Path(spec.model).expanduser()
        if not path.exists():
            raise ServerError(
                f"the server of {spec.model} did not start: {path} does not exist\n  {NO_MODEL}"
            )


def _choose_port(spec: ServerSpec) -> int:
    """Return the port to listen on; refuse one in use, which vLLM might share silently."""
    try:
        found = socket.getaddrinfo(spec.host or None, spec.port, type=socket.SOCK_STREAM)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            probe.bind(address)
            probe.listen(1)
            return int(probe.getsockname()[1])
    except socket.gaierror as error:
        raise ConfigError(
            f"ServerSpec({spec.model!r}): {spec.host!r} is not an address of this machine: {error}"
        ) from error
    except OSError as error:
        raise ServerError(
            f"the server of {spec.model} did not start: {spec.host}:{spec.port}: "
            f"{error.strerror or error}\n  {PORT_IN_USE}"
        ) from error


async def _wait_until_healthy(
    server: VLLMServer, process: GuardedProcess, report: Callable[[str], None]
) -> None:
    """Wait until a server answers, and report its startup stages."""
    last = None
    healthy = False
    pause = _FIRST_PAUSE
    while True:
        # Read once more after the server answers: its last lines may be newer than the check.
        for line in process.new_lines():
            stage = _stage_of(line)
            if stage is not None and stage != last:
                report(stage)
                last = stage
        if healthy:
            return
        if not process.running:
            raise server.failure("did not start")
        healthy = await server.healthy()
        if not healthy:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)


def _stage_of(line: str) -> str | None:
    """Return the startup stage that a log line reports, in a few words, or None."""
    for pattern, words in _STAGES:
        if match := pattern.search(line):
            return words.format(*match.groups())
    return None


async def _check_identity(server: VLLMServer) -> None:
    """Check that the answers come from the server that was started, and read its context."""
    models = await server.models()
    ours = next((model for model in models if model.id == server.name), None)
    if ours is None:
        names = ", ".join(model.id for model in models) or "nothing"
        raise ServerError(
            f"the server of {server.name} did not start: another server answers at "
            f"{server.base_url}, which serves {names}\n  {PORT_IN_USE}"
        )
    server.context = ours.max_model_len
