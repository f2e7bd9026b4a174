"""`Fleet`: several servers that share the devices; each is up while it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from lmpipe.errors import ConfigError, ServerError
from lmpipe.serving.find import find_gpus, visible_devices
from lmpipe.serving.placement import Need, Placed, make_room, place, schedule_lines
from lmpipe.serving.server import VLLMServer
from lmpipe.serving.spec import ServerSpec
from lmpipe.serving.startup import start_server

_MAX_RESTARTS = 2
_ON_CPU = (0,)


@dataclass
class _Slot:
    """The state of one server. It has devices while it is up or `changing`: starting or stopping.

    `last_used` is on the fleet's own clock. `lost` is the error to raise if it died too often.
    """

    spec: ServerSpec
    need: Need
    server: VLLMServer | None = None
    devices: tuple[int, ...] = ()
    changing: bool = False
    users: int = 0
    last_used: int = 0
    deaths: int = 0
    lost: ServerError | None = None

    @property
    def is_up(self) -> bool:
        return self.server is not None and self.server.running

    @property
    def idle_since(self) -> int | None:
        return None if self.users or self.changing else self.last_used


class Fleet:
    """Decides which servers run when. Belongs to one event loop; `async with` closes it.

    Servers that fit side by side stay up. If another one does not fit, the server that has
    been idle longest is stopped first. A server in use is never stopped: whoever needs its
    devices waits. So code that uses one server must not wait for another that does not fit beside
    it.

    Args:
        specs: the servers, by the name that `use` takes.
        devices: the numbers of the GPUs to use; all visible ones by default. If there are none,
            the CPU counts as one device. A server takes whole devices unless its spec names a
            share of memory.
        on_progress: called with what the fleet does, in a few words.

    Raises:
        ConfigError: if a server does not fit even alone.
    """

    def __init__(
        self,
        specs: Mapping[str, ServerSpec],
        *,
        devices: Sequence[int] | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        gpus = visible_devices(len(find_gpus())) if devices is None else tuple(devices)
        self._on_gpu = bool(gpus)
        self._devices = gpus or _ON_CPU
        self._report = on_progress or (lambda _: None)
        self._slots = {name: _Slot(spec, self._need(name, spec)) for name, spec in specs.items()}
        self._clock = 0
        self._reserved = False
        self._closed = False
        self._change = asyncio.Event()

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the servers that are up."""
        return tuple(name for name, slot in self._slots.items() if slot.is_up)

    @property
    def specs(self) -> dict[str, ServerSpec]:
        """The specs of all servers, by name."""
        return {name: slot.spec for name, slot in self._slots.items()}

    def add(self, specs: Mapping[str, ServerSpec]) -> None:
        """Add servers; raise the adapter limits of servers that exist.

        A running server with lower limits is restarted before its next use. Nothing else of an
        existing server's spec changes.

        Raises:
            ConfigError: if a server does not fit even alone.
        """
        for name, spec in specs.items():
            slot = self._slots.get(name)
            if slot is None:
                self._slots[name] = _Slot(spec, self._need(name, spec))
            elif spec.adapters is not None:
                known = slot.spec.adapters
                limits = spec.adapters.widened(known) if known else spec.adapters
                slot.spec = replace(slot.spec, adapters=limits)

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[VLLMServer]:
        """Yield the server of this name, started if needed; it stays up inside the `with` block.

        Raises:
            ServerError: if it does not start, or died too often.
            ConfigError: if the fleet has no server of that name, or is closed.
        """
        slot = self._slots.get(name)
        if slot is None:
            known = ", ".join(self._slots) or "none"
            raise ConfigError(f"the fleet has no server {name!r}; it has: {known}")
        server = await self._bring_up(name, slot)
        slot.users += 1
        try:
            yield server
        finally:
            slot.users -= 1
            self._clock += 1
            slot.last_used = self._clock
            self._notify_waiters()

    @asynccontextmanager
    async def free_devices(self) -> AsyncIterator[tuple[int, ...]]:
        """Stop all servers for a training, and yield the numbers of the GPUs; empty on a CPU.

        Waits until no server is in use; inside the block none is started.

        Raises:
            ConfigError: if the fleet is closed.
        """
        while self._reserved or any(slot.users or slot.changing for slot in self._slots.values()):
            self._check_open()
            await self._change.wait()
        self._check_open()
        self._reserved = True
        try:
            await self._stop([slot for slot in self._slots.values() if slot.server is not None])
            yield self._devices if self._on_gpu else ()
        finally:
            self._reserved = False
            self._notify_waiters()

    def schedule(self, phases: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """Describe what the fleet will do, a line for each phase. Nothing is started.

        Args:
            phases: the name of each phase, with the servers that it uses; none for a training.
        """
        needs = {name: slot.need for name, slot in self._slots.items()}
        return schedule_lines(needs, self._devices, phases, on_gpu=self._on_gpu)

    async def aclose(self) -> None:
        """Stop all servers, in use or not; the fleet cannot be used afterwards."""
        self._closed = True
        self._notify_waiters()
        while any(slot.changing for slot in self._slots.values()):
            await self._change.wait()
        await self._stop([slot for slot in self._slots.values() if slot.server is not None])

    async def _bring_up(self, name: str, slot: _Slot) -> VLLMServer:
        """Wait until a server is up. Nothing is awaited between a check and its consequence."""
        while True:
            self._check_open()
            if slot.lost is not None:
                raise slot.lost
            if slot.changing or self._reserved:
                await self._change.wait()
            elif slot.server is not None and slot.server.running:
                if slot.server.spec is not None and slot.server.spec.adapters == slot.spec.adapters:
                    return slot.server
                if slot.users:
                    await self._change.wait()
                else:
                    self._report(f"restarting {name} with higher adapter limits")
                    await self._stop([slot])
            elif slot.server is not None:
                await self._record_death(name, slot, slot.server)
            elif (devices := place(slot.need, self._placed(), self._devices)) is not None:
                await self._start(name, slot, devices)
            elif idle := make_room(slot.need, self._placed(), self._devices):
                for other in idle:
                    self._report(f"stopping {other} to make room for {name}")
                await self._stop([self._slots[other] for other in idle])
            else:
                await self._change.wait()

    async def _start(self, name: str, slot: _Slot, devices: tuple[int, ...]) -> None:
        spec = replace(slot.spec, devices=devices) if self._on_gpu else slot.spec
        target = f"GPU {', '.join(map(str, devices))}" if self._on_gpu else "the CPU"
        self._report(f"starting {name} on {target}")
        slot.changing, slot.devices = True, devices
        try:
            slot.server = await start_server(
                spec, on_progress=lambda stage: self._report(f"{name}: {stage}")
            )
        finally:
            slot.changing = False
            self._notify_waiters()
        self._report(f"{name} is up")

    async def _record_death(self, name: str, slot: _Slot, server: VLLMServer) -> None:
        """Count the death of a server; after too many it is not restarted."""
        slot.deaths += 1
        failure = server.failure()
        await self._stop([slot])
        if slot.deaths > _MAX_RESTARTS:
            slot.lost = ServerError(
                f"{name} has died {slot.deaths} times; it is not restarted\n{failure}",
                log=failure.log,
                exit_status=failure.exit_status,
            )
            return
        self._report(f"{name} has died and is restarted: {str(failure).splitlines()[0]}")

    async def _stop(self, slots: Sequence[_Slot]) -> None:
        servers = [slot.server for slot in slots if slot.server is not None]
        for slot in slots:
            slot.changing = True
        try:
            await asyncio.gather(*(server.stop() for server in servers))
        finally:
            for slot in slots:
                slot.changing, slot.server = False, None
            self._notify_waiters()

    def _placed(self) -> dict[str, Placed]:
        """The servers that use devices now."""
        return {
            name: Placed(slot.devices, slot.need.share, slot.idle_since)
            for name, slot in self._slots.items()
            if slot.changing or slot.is_up
        }

    def _need(self, name: str, spec: ServerSpec) -> Need:
        share = 1.0 if spec.memory is None else spec.memory
        need = Need(1, share)  # on a CPU all ranks share the one device
        if self._on_gpu:
            need = Need(max(spec.device_count, len(spec.devices)), share, spec.devices)
        if place(need, {}, self._devices) is None:
            wanted = f"GPUs {', '.join(map(str, need.only))}" if need.only else f"{need.count} GPUs"
            available = ", ".join(map(str, self._devices))
            raise ConfigError(f"the server {name} needs {wanted}; the fleet has: {available}")
        return need

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("this fleet of servers is closed: create another one")

    def _notify_waiters(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
