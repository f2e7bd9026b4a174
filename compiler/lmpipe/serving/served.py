"""`ServedLMs`: the servers of LMs that have no address, with their adapters loaded."""

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
from lmpipe.serving.server import VLLMServer, attach
from lmpipe.state.program_state import AdapterRef


class ServedLMs:
    """Looks after servers for a runtime, and after the weights of trained predictors.

    An LM without an address is served by the fleet, which starts its server when it is first
    asked: a compile that is answered by the cache starts none. An LM with an address is asked
    there. At either, an adapter is loaded before it is first asked.

    Args:
        fleet: the servers of LMs without an address.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._folders: dict[str, Path] = {}
        self._attached: dict[tuple[str, str | None, TLS | None], VLLMServer] = {}
        self._loaded: dict[VLLMServer, set[str]] = {}
        self._loading = asyncio.Lock()

    def add_adapter(self, name: str, folder: Path) -> None:
        """Know where the weights of an adapter lie."""
        self._folders[name] = folder.absolute()

    def add_model(self, model: str, folder: Path, *, like: str) -> None:
        """Know where the weights of a whole model lie.

        Args:
            model: as `LM.model` names it.
            folder: the weights.
            like: an LM of the fleet that is served the same way.
        """
        name = model.partition("/")[2]
        self.fleet.add({model: self.fleet.spec(like).of_weights(folder, name)})

    def add_known(self, other: ServedLMs) -> None:
        """Know the weights that another one knows, and how it starts servers for LMs."""
        self._folders |= other._folders
        self.fleet.add(other.fleet.specs)

    def folder_of(self, weights: AdapterRef | str) -> Path | None:
        """Where the weights of an adapter lie, or those of an LM, if they are on this machine."""
        if isinstance(weights, AdapterRef):
            return self._folders.get(weights.name)
        spec = self.fleet.specs.get(weights)
        return None if spec is None else Path(spec.model)

    @asynccontextmanager
    async def use(self, lm: LM) -> AsyncIterator[ServedAt]:
        """Keep the server of an LM up, with its adapter, for as long as it is used.

        Raises:
            LMError: if the weights of its adapter are not on this machine.
            ServerError: if there is no server and none can be started.
        """
        if lm.base_url is not None:
            server = await self._attach(lm)
            await self._load(server, lm)
            yield ServedAt(server.base_url, lm.api_key)
            return
        async with self.fleet.use(lm.model) as server:
            await self._load(server, lm)
            yield ServedAt(server.base_url, server.api_key)

    def free_devices(self) -> AbstractAsyncContextManager[object]:
        """Stop the fleet's servers, and keep them so, while something else needs the devices."""
        return self.fleet.free_devices()

    async def aclose(self) -> None:
        """Stop the fleet's servers."""
        await self.fleet.aclose()

    async def _attach(self, lm: LM) -> VLLMServer:
        assert lm.base_url is not None
        place = lm.base_url, lm.api_key, lm.tls
        async with self._loading:
            if place not in self._attached:
                self._attached[place] = await attach(lm.base_url, api_key=lm.api_key, tls=lm.tls)
        return self._attached[place]

    async def _load(self, server: VLLMServer, lm: LM) -> None:
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
