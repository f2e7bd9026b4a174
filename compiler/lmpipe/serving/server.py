"""`start_server` and `attach`: a vLLM server that runs, and what can be asked of it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lmpipe.errors import ConfigError, ServerError
from lmpipe.lm.lm import LM, without_password
from lmpipe.lm.tls import TLS
from lmpipe.serving.admin import Admin, ServedModel
from lmpipe.serving.causes import NO_MODEL, PORT_IN_USE, server_error
from lmpipe.serving.find import find_vllm
from lmpipe.serving.metrics import ServerMetrics
from lmpipe.serving.process import GuardedProcess, log_file
from lmpipe.serving.spec import KEY_VARIABLE, ServerSpec
from lmpipe.serving.stages import stage_of

__all__ = ["ServedModel", "VLLMServer", "attach", "start_server"]

_LOOK_AGAIN = 0.2  # seconds between looks while a server starts


class VLLMServer:
    """A server that runs. Made by `start_server` and `attach`.

    `async with` stops it at the end, if it was started here.

    Args:
        base_url: its address, up to and including `/v1`.
        name: what requests call its model.
        api_key: what it wants to be shown.
        tls: its certificate files.
        spec: what it was started for; None for one that ran already.
        process: its process; None for one that ran already.
        argv: its command line.
    """

    def __init__(
        self,
        base_url: str,
        name: str,
        *,
        api_key: str | None = None,
        tls: TLS | None = None,
        spec: ServerSpec | None = None,
        process: GuardedProcess | None = None,
        argv: Sequence[str] = (),
    ) -> None:
        self.base_url = base_url
        self.name = name
        self.api_key = api_key
        self.tls = tls
        self.spec = spec
        self.context: int | None = None
        self._process = process
        self._argv = tuple(argv)
        self._admin = Admin(base_url, api_key, tls)
        self._structured: bool | None = None
        self._stopped = False

    def __repr__(self) -> str:
        return f"VLLMServer({without_password(self.base_url)!r}, {self.name!r})"

    async def __aenter__(self) -> VLLMServer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def owned(self) -> bool:
        """Whether it was started here, and so is stopped here."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The process id of a server that was started here."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path | None:
        """The log file of a server that was started here."""
        return self._process.log if self._process else None

    @property
    def running(self) -> bool:
        """Whether its process is there; one that ran already is taken to be until `stop`."""
        return self._process.running if self._process else not self._stopped

    def lm(self, **settings: Any) -> LM:
        """The LM that it serves. Its address is part of the LM's cache keys.

        Args:
            settings: as for `LM`; `adapter=` names an adapter that was loaded.
        """
        if self.context is not None:
            settings.setdefault("context", self.context)
        settings.setdefault("api_key", self.api_key)
        settings.setdefault("tls", self.tls)
        return LM(f"vllm/{self.name}", base_url=self.base_url, **settings)

    async def healthy(self) -> bool:
        """Whether it runs and answers."""
        return self.running and await self._admin.healthy()

    async def models(self) -> list[ServedModel]:
        """The model and the adapters that it answers with.

        Raises:
            ServerError: if it does not tell.
        """
        return await self._admin.models()

    async def load_adapter(self, name: str, path: Path | str) -> None:
        """Load a LoRA adapter; requests then name it in place of the model.

        One that is there already from the same folder is left as it is. One of the same name from
        another folder is replaced.

        Args:
            name: what requests call it.
            path: its folder, as the server sees it.

        Raises:
            ServerError: if the server does not take it.
        """
        await self._admin.load_adapter(name, _adapter_folder(path, check=self.owned))

    async def unload_adapter(self, name: str) -> None:
        """Unload a LoRA adapter; it need not be loaded.

        Raises:
            ServerError: if the server does not let go of it.
        """
        await self._admin.unload_adapter(name)

    async def metrics(self) -> ServerMetrics:
        """What it has counted since it started.

        Raises:
            ServerError: if it does not tell.
        """
        return ServerMetrics.parse(await self._admin.metrics())

    async def structured_outputs(self) -> bool:
        """Whether it holds replies to a form, found out once by a request of a few tokens.

        Raises:
            ServerError: if it does not answer.
        """
        if self._structured is None:
            self._structured = await self._admin.holds_choice(self.name)
        return self._structured

    def failure(self, what: str = "has died") -> ServerError:
        """The error for a server that was started here and does not do what it should."""
        assert self.spec is not None
        assert self._process is not None
        return server_error(
            self.spec,
            what,
            argv=self._argv,
            lines=self._process.last_lines(),
            log=self._process.log,
            exit_status=self._process.exit_status,
        )

    async def stop(self) -> None:
        """Stop it and all its processes; one that was not started here runs on."""
        self._stopped = True
        try:
            await self._admin.aclose()
        finally:
            if self._process is not None:
                await self._process.stop()


async def start_server(
    spec: ServerSpec,
    *,
    on_progress: Callable[[str], None] | None = None,
    timeout: float = 600,  # noqa: ASYNC109 - a start that is given up is also cleaned up
) -> VLLMServer:
    """Start a server and wait until it answers.

    It ends when it is stopped, and when this process ends, in whatever way.

    Args:
        spec: what to serve.
        on_progress: called with what it is doing, in a few words.
        timeout: the longest wait, in seconds.

    Raises:
        ServerError: if it does not start; says why, with its last lines.
        ConfigError: if vLLM is not found.
    """
    command = spec.command or find_vllm().command
    _check_model(spec)
    port = _port(spec)
    argv = spec.argv(command, port)
    environment = spec.environment(os.environ)
    process = GuardedProcess(argv, environment=environment, log=log_file(spec.served_name))
    server = VLLMServer(
        f"http://{spec.reached_at}:{port}/v1",
        spec.served_name,
        api_key=environment.get(KEY_VARIABLE) or None,
        spec=spec,
        process=process,
        argv=argv,
    )
    try:
        async with asyncio.timeout(timeout):
            await _answering(server, process, on_progress or (lambda _: None))
            await _check_name(server)
    except BaseException as error:
        late = isinstance(error, TimeoutError)
        failure = server.failure(f"did not answer within {timeout:g} seconds") if late else None
        await server.stop()
        if failure is not None:
            raise failure from error
        raise
    return server


async def attach(
    base_url: str, *, api_key: str | None = None, tls: TLS | None = None
) -> VLLMServer:
    """Use a server that runs already; it is never stopped from here.

    Args:
        base_url: its address, with or without `/v1`.
        api_key: what it wants to be shown.
        tls: its certificate files.

    Raises:
        ServerError: if it does not answer, or serves no model.
        ConfigError: if the address is none.
    """
    base_url = base_url.rstrip("/")
    base_url = base_url if base_url.endswith("/v1") else f"{base_url}/v1"
    admin = Admin(base_url, api_key, tls)
    try:
        models = await admin.models()
    finally:
        await admin.aclose()
    base = next((model for model in models if model.parent is None), None)
    if base is None:
        raise ServerError(f"the server at {without_password(base_url)} serves no model")
    server = VLLMServer(base_url, base.id, api_key=api_key, tls=tls)
    server.context = base.max_model_len
    return server


def _adapter_folder(path: Path | str, *, check: bool) -> str:
    """An adapter's folder as a server can find it; looked at where it is on this machine."""
    folder = Path(path).expanduser().absolute()
    if check and not (folder / "adapter_config.json").exists():
        raise ServerError(
            f"{folder} holds no adapter: expected adapter_config.json and its safetensors"
        )
    return str(folder)


def _check_model(spec: ServerSpec) -> None:
    """Refuse a folder that is not there: vLLM would take it for a hub name, after half a minute."""
    if spec.model.startswith(("/", "./", "../", "~")):
        path = Path(spec.model).expanduser()
        if not path.exists():
            raise ServerError(f"the server of {spec.model} did not start: no {path}\n  {NO_MODEL}")


def _port(spec: ServerSpec) -> int:
    """The port to listen at. One that is taken is refused here: vLLM may share it silently."""
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
            f"ServerSpec({spec.model!r}): {spec.host!r} is no address here: {error}"
        ) from error
    except OSError as error:
        where = f"{spec.host}:{spec.port}"
        raise ServerError(
            f"the server of {spec.model} did not start: {where}: {error.strerror or error}\n"
            f"  {PORT_IN_USE}"
        ) from error


async def _answering(
    server: VLLMServer, process: GuardedProcess, tell: Callable[[str], None]
) -> None:
    """Wait until a server answers, and tell how far it is."""
    last = None
    while True:
        for line in process.new_lines():
            stage = stage_of(line)
            if stage is not None and stage != last:
                tell(stage)
                last = stage
        if not process.running:
            raise server.failure("did not start")
        if await server.healthy():
            return
        await asyncio.sleep(_LOOK_AGAIN)


async def _check_name(server: VLLMServer) -> None:
    """See that it is the server that was started which answers."""
    models = await server.models()
    ours = next((model for model in models if model.id == server.name), None)
    if ours is None:
        names = ", ".join(model.id for model in models) or "nothing"
        raise ServerError(
            f"the server of {server.name} did not start: another one answers at "
            f"{server.base_url}, which serves {names}\n  {PORT_IN_USE}"
        )
    server.context = ours.max_model_len
