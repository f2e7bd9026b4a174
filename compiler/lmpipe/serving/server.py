"""`VLLMServer`: a running vLLM server and the requests that it takes; `attach` to one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import ServerError
from lmpipe.foundation.redaction import public_url
from lmpipe.lm.lm import LM
from lmpipe.lm.tls import TLS
from lmpipe.serving.admin import Admin
from lmpipe.serving.causes import server_error
from lmpipe.serving.metrics import ServerMetrics
from lmpipe.serving.process import GuardedProcess
from lmpipe.serving.spec import ServerSpec

# An adapter may be on a slow disk, and loading waits for requests in progress.
_LOAD_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model or an adapter that a server answers requests for.

    Args:
        id: the model name in requests.
        root: the folder or hub name that it was loaded from, if the server reports it.
        parent: the base model of an adapter; None for a model.
        max_model_len: the maximum length of prompt and reply together, in tokens.
    """

    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


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
    ) -> None:
        self.base_url = base_url
        self.name = name
        self.api_key = api_key
        self.tls = tls
        self.spec = spec
        self.context: int | None = None
        self._process = process
        self._admin = Admin(base_url, api_key, tls)
        self._structured: bool | None = None
        self._stopped = False

    def __repr__(self) -> str:
        return f"VLLMServer({public_url(self.base_url)!r}, {self.name!r})"

    async def __aenter__(self) -> VLLMServer:
        return self

    async def __aexit__(self, *_: object) -> None:
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
        try:
            return (
                self.running and (await self._admin.request("/health", seconds=5.0)).status == 200
            )
        except ServerError:
            return False

    async def models(self) -> list[ServedModel]:
        """List the server's model and its loaded adapters.

        Raises:
            ServerError: if the server does not list them.
        """
        response = await self._admin.request("/v1/models")
        if response.status != 200:
            raise self._admin.refusal("does not list its models", response)
        try:
            return [
                ServedModel(
                    str(card["id"]), card.get("root"), card.get("parent"), card.get("max_model_len")
                )
                for card in orjson.loads(response.body)["data"]
            ]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ServerError(
                f"{public_url(self.base_url)} does not speak the OpenAI API: /v1/models did "
                "not return a list of models; check that the URL ends in /v1"
            ) from error

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
        folder = _adapter_folder(path, check=self.owned)
        loaded = await self._find_adapter(name)
        if loaded is not None and loaded.root == folder:
            return
        body = {"lora_name": name, "lora_path": folder, "load_inplace": loaded is not None}
        response = await self._admin.request("/v1/load_lora_adapter", body, seconds=_LOAD_TIMEOUT)
        if response.status == 200:
            return
        loaded = await self._find_adapter(name)  # another client may have loaded it meanwhile
        if loaded is None or loaded.root != folder:
            raise self._admin.refusal(f"did not load the adapter {name} from {folder}", response)

    async def unload_adapter(self, name: str) -> None:
        """Unload a LoRA adapter, if it is loaded.

        Raises:
            ServerError: if the server does not unload it.
        """
        response = await self._admin.request("/v1/unload_lora_adapter", {"lora_name": name})
        if response.status != 200 and await self._find_adapter(name) is not None:
            raise self._admin.refusal(f"did not unload the adapter {name}", response)

    async def metrics(self) -> ServerMetrics:
        """Read the server's counters since it started.

        Raises:
            ServerError: if the server does not report them.
        """
        response = await self._admin.request("/metrics")
        if response.status != 200:
            raise self._admin.refusal("has no metrics", response)
        return ServerMetrics.parse(response.body.decode(errors="replace"))

    async def structured_outputs(self) -> bool:
        """Whether the server enforces structured outputs; tried once, with a few tokens.

        A server may accept the field and ignore it.

        Raises:
            ServerError: if the server does not answer.
        """
        if self._structured is None:
            self._structured = await self._enforces_choice()
        return self._structured

    def failure(self, what: str = "has died") -> ServerError:
        """Build the error for a server that was started here and failed."""
        assert self.spec is not None
        assert self._process is not None
        return server_error(self.spec, what, self._process)

    async def stop(self) -> None:
        """Stop the server and all its processes, if it was started here."""
        self._stopped = True
        try:
            await self._admin.aclose()
        finally:
            if self._process is not None:
                await self._process.stop()

    async def _find_adapter(self, name: str) -> ServedModel | None:
        return next((model for model in await self.models() if model.id == name), None)

    async def _enforces_choice(self) -> bool:
        choice = "zyxw"  # no model writes this unless it is forced to
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": "Say hello."}],
            "temperature": 0.0,
            "max_tokens": 16,
            "structured_outputs": {"choice": [choice]},
        }
        response = await self._admin.request("/v1/chat/completions", body, seconds=_LOAD_TIMEOUT)
        if response.status in (400, 422, 501):
            return False
        if response.status != 200:
            raise self._admin.refusal("does not answer", response)
        try:
            reply = orjson.loads(response.body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            return False
        return bool(reply == choice)


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
    server = VLLMServer(base_url, "", api_key=api_key, tls=tls)
    try:
        base = next((model for model in await server.models() if model.parent is None), None)
        if base is None:
            raise ServerError(f"the server at {public_url(base_url)} serves no model")
    except BaseException:
        await server.stop()
        raise
    server.name, server.context = base.id, base.max_model_len
    return server


async def attach_to(lm: LM) -> VLLMServer:
    """Use the running server of an LM that has an address; see `attach`."""
    assert lm.base_url is not None
    return await attach(lm.base_url, api_key=lm.api_key, tls=lm.tls)


def _adapter_folder(path: Path | str, *, check: bool) -> str:
    """Return an adapter's absolute folder; `check` that it exists if the server is local."""
    folder = Path(path).expanduser().absolute()
    if check and not (folder / "adapter_config.json").exists():
        raise ServerError(
            f"{folder} is not an adapter folder: expected adapter_config.json and a safetensors "
            "file"
        )
    return str(folder)
