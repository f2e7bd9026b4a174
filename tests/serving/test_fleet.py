"""Fleet: which servers run, which are stopped for others, and restarts of dead ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.fake_vllm import fake_command

from lmpipe.errors import ConfigError, ServerError
from lmpipe.serving import AdapterLimits, Fleet, ServerSpec, VLLMServer

Make = Callable[..., ServerSpec]


@pytest.fixture
def starts(tmp_path: Path) -> Callable[[], list[str]]:
    """Returns the starts so far: model and CUDA_VISIBLE_DEVICES."""
    return lambda: (tmp_path / "starts").read_text().splitlines()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def spec(model: str, memory: float | None = None, **env: str) -> ServerSpec:
        env["FAKE_STARTS"] = str(tmp_path / "starts")
        return ServerSpec(model=model, memory=memory, command=fake_command(), env=env)

    return spec


async def die(server: VLLMServer) -> None:
    host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /die HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    while server.running:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_a_server_stays_up_between_uses(make: Make, starts: Callable[[], list[str]]) -> None:
    async with Fleet({"a": make("a")}, devices=[]) as fleet:
        async with fleet.use("a") as first, fleet.use("a") as second:
            assert first is second
            assert await first.healthy()
        async with fleet.use("a") as third:
            assert third is first
        assert fleet.running == ("a",)
    assert not first.running
    assert starts() == ["a -"]


async def test_concurrent_uses_start_a_server_once(
    make: Make, starts: Callable[[], list[str]]
) -> None:
    async with Fleet({"a": make("a")}, devices=[]) as fleet:

        async def use() -> VLLMServer:
            async with fleet.use("a") as server:
                return server

        assert len(set(await asyncio.gather(*(use() for _ in range(8))))) == 1
    assert starts() == ["a -"]


async def test_on_one_device_the_longest_idle_server_is_stopped(
    make: Make, starts: Callable[[], list[str]]
) -> None:
    specs = {name: make(name, 0.5) for name in "abc"}
    messages: list[str] = []
    async with Fleet(specs, devices=[0], on_progress=messages.append) as fleet:
        for name in "abac":
            async with fleet.use(name):
                pass
        assert fleet.running == ("a", "c")
        assert "stopping b to make room for c" in messages
    assert starts() == ["a 0", "b 0", "c 0"]


async def test_two_devices_hold_two_servers(make: Make, starts: Callable[[], list[str]]) -> None:
    specs = {name: make(name) for name in "ab"}
    async with (
        Fleet(specs, devices=[2, 3]) as fleet,
        fleet.use("a"),
        fleet.use("b"),
    ):
        assert fleet.running == ("a", "b")
    assert starts() == ["a 2", "b 3"]


async def test_a_use_without_room_waits_until_another_server_is_idle(make: Make) -> None:
    events: list[str] = []
    specs = {name: make(name) for name in "ab"}
    async with Fleet(specs, devices=[0], on_progress=events.append) as fleet:

        async def use_b() -> None:
            async with fleet.use("b") as server:
                assert await server.healthy()

        async with fleet.use("a") as server:
            waiting = asyncio.create_task(use_b())
            assert await server.healthy()
            assert await server.healthy()
            events.append("released")
        await waiting
    order = [event for event in events if event == "released" or " to make room" in event]
    assert order == ["released", "stopping a to make room for b"]


async def test_a_cancelled_wait_leaves_no_trace(make: Make) -> None:
    specs = {name: make(name) for name in "ab"}
    async with Fleet(specs, devices=[0]) as fleet:
        async with fleet.use("a"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), fleet.use("b"):
                    pass
        async with fleet.use("a"):
            assert fleet.running == ("a",)


async def test_a_training_gets_all_devices(make: Make, starts: Callable[[], list[str]]) -> None:
    async with Fleet({"a": make("a")}, devices=[1]) as fleet:
        events: list[str] = []

        async def train() -> None:
            async with fleet.free_devices() as devices:
                events.append("training")
                assert devices == (1,)
                assert fleet.running == ()
                again = asyncio.create_task(use())
                assert await asyncio.wait({again}, timeout=0.05) == (set(), {again})
                events.append("trained")
            await again

        async def use() -> None:
            async with fleet.use("a"):
                events.append("used")

        async with fleet.use("a") as server:
            training = asyncio.create_task(train())
            assert await server.healthy()
            events.append("released")
        await training
        assert events == ["released", "training", "trained", "used"]
    assert starts() == ["a 1", "a 1"]


async def test_on_a_cpu_a_training_gets_no_device_numbers(make: Make) -> None:
    async with Fleet({"a": make("a")}, devices=[]) as fleet, fleet.free_devices() as devices:
        assert devices == ()


async def test_a_dead_server_is_restarted_twice(
    make: Make, starts: Callable[[], list[str]]
) -> None:
    messages: list[str] = []
    async with Fleet({"a": make("a")}, devices=[], on_progress=messages.append) as fleet:
        for _ in range(3):
            async with fleet.use("a") as server:
                await die(server)
        for _ in range(2):
            with pytest.raises(ServerError, match="a has died 3 times") as caught:
                async with fleet.use("a"):
                    pass
            assert caught.value.log[-1] == "RuntimeError: dying on request"
            assert caught.value.exit_status == 3
    assert len(starts()) == 3
    assert sum("has died and is restarted" in line for line in messages) == 2


async def test_a_failed_start_is_an_error_for_every_waiting_use(make: Make) -> None:
    specs = {"a": make("a", FAKE_EXIT="gremlins"), "b": make("b")}
    async with Fleet(specs, devices=[0]) as fleet:

        async def use(name: str) -> bool:
            async with fleet.use(name) as server:
                return await server.healthy()

        outcomes = await asyncio.gather(use("a"), use("a"), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ServerError, ServerError]
        assert await use("b")  # the device is free again


async def test_a_closed_fleet_refuses_uses(make: Make) -> None:
    fleet = Fleet({"a": make("a")}, devices=[])
    async with fleet.use("a") as server:
        await fleet.aclose()
        assert not server.running
    with pytest.raises(ConfigError, match="closed"):
        async with fleet.use("a"):
            pass
    with pytest.raises(ConfigError, match="closed"):
        async with fleet.free_devices():
            pass


async def test_an_unknown_name_is_an_error(make: Make) -> None:
    async with Fleet({"a": make("a")}, devices=[]) as fleet:
        with pytest.raises(ConfigError, match="no server 'x'; it has: a"):
            async with fleet.use("x"):
                pass


def with_limits(spec: ServerSpec, **limits: int) -> ServerSpec:
    return replace(spec, adapters=AdapterLimits(**limits))


async def test_a_server_can_be_added(make: Make, starts: Callable[[], list[str]]) -> None:
    async with Fleet({"a": make("a", 0.5)}, devices=[]) as fleet:
        fleet.add({"b": make("b", 0.5)})
        async with fleet.use("a"), fleet.use("b") as server:
            assert await server.healthy()
    assert starts() == ["a -", "b -"]


async def test_a_server_that_never_fits_is_not_added(make: Make) -> None:
    async with Fleet({}, devices=[0]) as fleet:
        with pytest.raises(ConfigError, match="the server a needs 2 GPUs"):
            fleet.add({"a": replace(make("a"), tensor_parallel=2)})


async def test_higher_adapter_limits_restart_an_idle_server(
    make: Make, starts: Callable[[], list[str]]
) -> None:
    small, large = with_limits(make("a"), rank=8, count=4), with_limits(make("a"), rank=32, count=2)
    async with Fleet({"a": small}, devices=[]) as fleet:

        async def use() -> VLLMServer:
            async with fleet.use("a") as server:
                return server

        async with fleet.use("a") as first:
            fleet.add({"a": large})
            waiting = asyncio.ensure_future(use())
            await asyncio.wait([waiting], timeout=0.05)
            assert not waiting.done()
            assert await first.healthy()
        second = await waiting
        assert second.spec is not None
        assert second.spec.adapters == AdapterLimits(rank=32, count=4)
        assert await use() is second
    assert starts() == ["a -", "a -"]


async def test_sufficient_adapter_limits_leave_a_server_up(
    make: Make, starts: Callable[[], list[str]]
) -> None:
    spec = with_limits(make("a"), rank=16, count=4)
    async with Fleet({"a": spec}, devices=[]) as fleet:
        for room in (spec, with_limits(spec, rank=8, count=2), make("a")):
            fleet.add({"a": room})
            async with fleet.use("a"):
                pass
    assert starts() == ["a -"]
