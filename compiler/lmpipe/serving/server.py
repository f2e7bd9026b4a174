"""`VLLMServer`: a running vLLM server and the requests that it takes; `attach` to one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lmpipe.errors import ServerError
from lmpipe.lm.lm import LM, without_password
from lmpipe.lm.tls import TLS
from lmpipe.serving.admin import Admin, ServedModel
from lmpipe.serving.causes import server_error
from lmpipe.serving.metrics import ServerMetrics
from lmpipe.serving.process import GuardedProcess
from lmpipe.serving.spec import ServerSpec

__all__ = ["ServedModel", "VLLMServer", "attach"]


class VLLMServer:
    """A running server, made by `start_server` or `attach`.

    As an async context manager it stops at the end, if it was started here.

    Args:
        base_url: its URL, up to and including `/v1`.
        name: its model's name in requests.
        api_key: the API key that it requires.
        tls: its certificate files.
        spec: the spec that it was started with; None if it was not started here.
        process: its process; None if it was not started here.
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
        """Whether the server was started here, and so is stopped here."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The server's process id, if it was started here."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path | None:
        """The server's log file, if it was started here."""
        return self._process.log if self._process else None

    @property
    def running(self) -> bool:
        """Whether its process runs; for a server that was not started here, until `stop`."""
        return self._process.running if self._process else not self._stopped

    def lm(self, **settings: Any) -> LM:
        """Return the LM that the server answers as. Its URL is part of the LM's cache keys.

        Args:
            settings: the settings of `LM`; `adapter=` names a loaded adapter.
        """
        if self.context is not None:
            settings.setdefault("context", self.context)
        settings.setdefault("api_key", self.api_key)
        settings.setdefault("tls", self.tls)
        return LM(f"vllm/{self.name}", base_url=self.base_url, **settings)

    async def healthy(self) -> bool:
        """Whether the server runs and answers."""
        return self.running and await self._admin.healthy()

    async def models(self) -> list[ServedModel]:
        """List the server's model and its loaded adapters.

        Raises:
            ServerError: if the server does not list them.
        """
        return await self._admin.models()

    async def load_adapter(self, name: str, path: Path | str) -> None:
        """Load a LoRA adapter; requests then use its name in place of the model's.

        An adapter that is already loaded from the same folder is left as it is; one with the same
        name from another folder is replaced.

        Args:
            name: the adapter's name in requests.
            path: its folder, as the server sees it.

        Raises:
            ServerError: if the server does not load it.
        """
        await self._admin.load_adapter(name, _adapter_folder(path, check=self.owned))

    async def unload_adapter(self, name: str) -> None:
        """Unload a LoRA adapter, if it is loaded.

        Raises:
            ServerError: if the server does not unload it.
        """
        await self._admin.unload_adapter(name)

    async def metrics(self) -> ServerMetrics:
        """Read the server's counters since it started.

        Raises:
            ServerError: if the server does not report them.
        """
        return ServerMetrics.parse(await self._admin.metrics())

    async def structured_outputs(self) -> bool:
        """Whether the server enforces structured outputs; tried once, with a few tokens.

        Raises:
            ServerError: if the server does not answer.
        """
        if self._structured is None:
            self._structured = await self._admin.enforces_choice(self.name)
        return self._structured

    def failure(self, what: str = "has died") -> ServerError:
        """Build the error for a server that was started here and failed."""
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
        """Stop the server and all its processes, if it was started here."""
        self._stopped = True
        try:
            await self._admin.aclose()
        finally:
            if self._process is not None:
                await self._process.stop()


async def attach(
    base_url: str, *, api_key: str | None = None, tls: TLS | None = None
) -> VLLMServer:
    """Use a server that is already running; it is never stopped from here.

    Args:
        base_url: its URL, with or without `/v1`.
        api_key: the API key that it requires.
        tls: its certificate files.

    Raises:
        ServerError: if it does not answer, or serves no model.
        ConfigError: if the URL is not valid.
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
    """Return an adapter's absolute folder; `check` that it exists if the server is local."""
    folder = Path(path).expanduser().absolute()
    if check and not (folder / "adapter_config.json").exists():
        raise ServerError(
            f"{folder} is not an adapter folder: expected adapter_config.json and a safetensors "
            "file"
        )
    return str(folder)
