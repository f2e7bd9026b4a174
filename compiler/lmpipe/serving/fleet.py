"""`Fleet`: several servers on the devices that there are, each up while it is used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from lmpipe.errors import ConfigError, ServerError
from lmpipe.serving.find import find_gpus, visible_devices
from lmpipe.serving.placement import Need, Placed, make_room, place
from lmpipe.serving.plan import plan
from lmpipe.serving.server import VLLMServer, start_server
from lmpipe.serving.spec import ServerSpec

_RESTARTS = 2
_ON_CPU = (0,)


@dataclass
class _Slot:
    """What is known of one server.

    Args:
        spec: what it serves.
        need: what it takes.
        server: the server, while it is up.
        devices: where it is, while it is up, starts or stops.
        changing: whether it starts or stops.
        users: how many use it.
        last_used: when it was used last, on the fleet's own clock.
        deaths: how often it died.
        lost: why it is not started any more.
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


class Fleet:
    """Decides which servers run when. Lives on one event loop; `async with` closes it at the end.

    Servers that fit side by side stay up; else the one that has been idle longest is stopped
    before another starts. One in use is never stopped: who wants one for which there is no room
    waits. So a task that uses one server must not wait for another one that does not fit beside it.

    Args:
        specs: what can be served, by the name that `use` takes.
        devices: the GPUs to use, by number; those that are found by default. Without a GPU, or
            where it is empty, the CPU counts as one device. A server takes the whole of each of
            its devices unless its spec names a share of memory.
        on_progress: called with what is being done, in a few words.

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
        found = visible_devices(len(find_gpus())) if devices is None else tuple(devices)
        self._on_gpu = bool(found)
        self._devices = found or _ON_CPU
        self._tell = on_progress or (lambda _: None)
        self._slots = {name: _Slot(spec, self._need(name, spec)) for name, spec in specs.items()}
        self._clock = 0
        self._reserved = False
        self._closed = False
        self._waiting: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the servers that are up."""
        return tuple(name for name, slot in self._slots.items() if _is_up(slot))

    @property
    def specs(self) -> dict[str, ServerSpec]:
        """How all its servers are started, by their names."""
        return {name: slot.spec for name, slot in self._slots.items()}

    def add(self, specs: Mapping[str, ServerSpec]) -> None:
        """Serve more, and give servers that are known the room for adapters that they need now.

        One that is up with less room is started again before it is used next. Of the rest of a
        known server's spec nothing changes.

        Raises:
            ConfigError: if a server does not fit even alone.
        """
        for name, spec in specs.items():
            slot = self._slots.get(name)
            if slot is None:
                self._slots[name] = _Slot(spec, self._need(name, spec))
            elif spec.adapters is not None:
                known = slot.spec.adapters
                room = spec.adapters.widened(known) if known else spec.adapters
                slot.spec = replace(slot.spec, adapters=room)

    def spec(self, model: str) -> ServerSpec:
        """How a server is started.

        Raises:
            ConfigError: if there is none of that name.
        """
        return self._slot(model).spec

    @asynccontextmanager
    async def use(self, model: str) -> AsyncIterator[VLLMServer]:
        """A server that is up, and stays up inside the `with` block.

        Args:
            model: its name in the fleet.

        Raises:
            ServerError: if it does not start, or died time and again.
            ConfigError: if there is none of that name, or the fleet is closed.
        """
        slot = self._slot(model)
        server = await self._up(model, slot)
        slot.users += 1
        try:
            yield server
        finally:
            slot.users -= 1
            self._clock += 1
            slot.last_used = self._clock
            self._changed()

    @asynccontextmanager
    async def free_devices(self) -> AsyncIterator[tuple[int, ...]]:
        """All devices, with no server on them: for a training. Empty on a CPU.

        Waits until no server is in use; inside the block none is started.

        Raises:
            ConfigError: if the fleet is closed.
        """
        while self._reserved or any(slot.users or slot.changing for slot in self._slots.values()):
            self._check_open()
            await self._change()
        self._check_open()
        self._reserved = True
        try:
            await self._stop([slot for slot in self._slots.values() if slot.server is not None])
            yield self._devices if self._on_gpu else ()
        finally:
            self._reserved = False
            self._changed()

    def plan(self, phases: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """What will be done, a line for each phase; nothing is started.

        Args:
            phases: what each is called, and the servers that it uses; none for a training.
        """
        needs = {name: slot.need for name, slot in self._slots.items()}
        return plan(needs, self._devices, phases, on_gpu=self._on_gpu)

    async def aclose(self) -> None:
        """Stop all servers, in use or not; nothing can be used afterwards."""
        self._closed = True
        self._changed()
        while any(slot.changing for slot in self._slots.values()):
            await self._change()
        await self._stop([slot for slot in self._slots.values() if slot.server is not None])

    def _slot(self, model: str) -> _Slot:
        slot = self._slots.get(model)
        if slot is None:
            known = ", ".join(self._slots) or "none"
            raise ConfigError(f"the fleet has no server {model!r}; it has: {known}")
        return slot

    async def _up(self, name: str, slot: _Slot) -> VLLMServer:
        """Wait until a server is up. Between a look and what follows from it nothing is awaited."""
        while True:
            self._check_open()
            if slot.lost is not None:
                raise slot.lost
            if slot.changing or self._reserved:
                await self._change()
            elif slot.server is not None and slot.server.running:
                if _has_room(slot, slot.server):
                    return slot.server
                if slot.users:
                    await self._change()
                else:
                    self._tell(f"starting {name} again with room for more adapters")
                    await self._stop([slot])
            elif slot.server is not None:
                await self._bury(name, slot, slot.server)
            elif (devices := place(slot.need, self._placed(), self._devices)) is not None:
                await self._start(name, slot, devices)
            elif idle := make_room(slot.need, self._placed(), self._devices):
                for one in idle:
                    self._tell(f"stopping {one} to make room for {name}")
                await self._stop([self._slots[one] for one in idle])
            else:
                await self._change()

    async def _start(self, name: str, slot: _Slot, devices: tuple[int, ...]) -> None:
        spec = replace(slot.spec, devices=devices) if self._on_gpu else slot.spec
        where = f"GPU {', '.join(map(str, devices))}" if self._on_gpu else "the CPU"
        self._tell(f"starting {name} on {where}")
        slot.changing, slot.devices = True, devices
        try:
            slot.server = await start_server(
                spec, on_progress=lambda stage: self._tell(f"{name}: {stage}")
            )
        finally:
            slot.changing = False
            self._changed()
        self._tell(f"{name} is up")

    async def _bury(self, name: str, slot: _Slot, server: VLLMServer) -> None:
        """Note that a server has died; too often is an error."""
        slot.deaths += 1
        failure = server.failure()
        await self._stop([slot])
        if slot.deaths > _RESTARTS:
            times = f"has died {slot.deaths} times; it is not started again"
            slot.lost = ServerError(
                f"{name} {times}\n{failure}", log=failure.log, exit_status=failure.exit_status
            )
            return
        self._tell(f"{name} has died and is started again: {str(failure).splitlines()[0]}")

    async def _stop(self, slots: Sequence[_Slot]) -> None:
        servers = [slot.server for slot in slots if slot.server is not None]
        for slot in slots:
            slot.changing = True
        try:
            await asyncio.gather(*(server.stop() for server in servers))
        finally:
            for slot in slots:
                slot.changing, slot.server = False, None
            self._changed()

    def _placed(self) -> dict[str, Placed]:
        """The servers that take room now."""
        return {
            name: Placed(slot.devices, slot.need.share, _idle_since(slot))
            for name, slot in self._slots.items()
            if slot.changing or _is_up(slot)
        }

    def _need(self, name: str, spec: ServerSpec) -> Need:
        need = Need.of(spec)
        if not self._on_gpu:
            # vLLM on a CPU needs no more than its share, however its ranks are laid out.
            need = Need(1, need.share)
        if place(need, {}, self._devices) is None:
            wanted = f"GPUs {', '.join(map(str, need.only))}" if need.only else f"{need.count} GPUs"
            there = ", ".join(map(str, self._devices))
            raise ConfigError(f"the server {name} needs {wanted}; the fleet has: {there}")
        return need

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigError("the fleet of servers is closed: make another one")

    async def _change(self) -> None:
        """Wait until something has changed."""
        change = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        await change

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)


def _is_up(slot: _Slot) -> bool:
    return slot.server is not None and slot.server.running


def _has_room(slot: _Slot, server: VLLMServer) -> bool:
    """Whether a server was started with the room for adapters that is needed now."""
    return server.spec is not None and server.spec.adapters == slot.spec.adapters


def _idle_since(slot: _Slot) -> int | None:
    return None if slot.users or slot.changing else slot.last_used
