"""`ServedLMs`: starts the servers of LMs without a URL, and loads adapters before their use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from lmpipe.errors import LMError
from lmpipe.lm.lm import LM
from lmpipe.lm.providers.base import ServedAt
from lmpipe.lm.tls import TLS
from lmpipe.serving.fleet import Fleet
from lmpipe.serving.server import VLLMServer, attach_to
from lmpipe.state.program_state import AdapterRef


class ServedLMs:
    """Manages a runtime's servers and the weights of trained predictors.

    An LM without a URL is served by the fleet, which starts its server at the first request that
    is not cached. An LM with a URL is requested there. In both cases an adapter is loaded before
    its first request.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._folders: dict[str, Path] = {}
        self._attached: dict[tuple[str | None, str | None, TLS | None], VLLMServer] = {}
        self._loaded: dict[VLLMServer, set[str]] = {}
        self._loading = asyncio.Lock()

    def add_adapter(self, name: str, folder: Path) -> None:
        """Register the folder of an adapter's weights."""
        self._folders[name] = folder.absolute()

    def add_model(self, model: str, folder: Path, *, like: str) -> None:
        """Register the folder of a whole model's weights.

        The model is named as in `LM.model`; it is served with the settings of the LM `like`.
        """
        name = model.partition("/")[2]
        self.fleet.add({model: self.fleet.specs[like].of_weights(folder, name)})

    def add_known(self, other: ServedLMs) -> None:
        """Register the weights and servers that another instance has registered."""
        self._folders |= other._folders
        self.fleet.add(other.fleet.specs)

    def folder_of(self, weights: AdapterRef | str) -> Path | None:
        """Return the folder of an adapter's or LM's weights, if they are on this machine."""
        if isinstance(weights, AdapterRef):
            return self._folders.get(weights.name)
        spec = self.fleet.specs.get(weights)
        return None if spec is None else Path(spec.model)

    @asynccontextmanager
    async def use(self, lm: LM) -> AsyncIterator[ServedAt]:
        """Yield the server of an LM, and keep it up with its adapter inside the `with` block.

        Raises an LMError if the weights of its adapter are not on this machine.
        """
        if lm.base_url is not None:
            server = await self._attach(lm)
            await self._load_adapter(server, lm)
            yield ServedAt(server.base_url, lm.api_key)
            return
        async with self.fleet.use(lm.model) as server:
            await self._load_adapter(server, lm)
            yield ServedAt(server.base_url, server.api_key)

    def free_devices(self) -> AbstractAsyncContextManager[object]:
        """Stop the fleet's servers, and start none while something else uses the devices."""
        return self.fleet.free_devices()

    async def aclose(self) -> None:
        """Stop the fleet's servers."""
        await self.fleet.aclose()

    async def _attach(self, lm: LM) -> VLLMServer:
        place = lm.base_url, lm.api_key, lm.tls
        async with self._loading:
            if place not in self._attached:
                self._attached[place] = await attach_to(lm)
        return self._attached[place]

    async def _load_adapter(self, server: VLLMServer, lm: LM) -> None:
        if lm.adapter is None or lm.adapter in self._loaded.get(server, ()):
            return
        async with self._loading:
            loaded = self._loaded.setdefault(server, set())
            if lm.adapter in loaded:
                return
            folder = self._folders.get(lm.adapter)
            known = {model.id for model in await server.models()}
            if lm.adapter not in known:
                if folder is None or not folder.is_dir():
                    raise LMError(
                        f"the adapter {lm.adapter} of {lm.model} is not loaded at "
                        f"{server.base_url}, and its weights are not on this machine: load the "
                        "run folder that has them, or compile again"
                    )
                await server.load_adapter(lm.adapter, folder)
            loaded.add(lm.adapter)
