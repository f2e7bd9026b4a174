"""The network block."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from lmpipe.errors import NetworkBlockedError
from lmpipe.testing import block_network


def by_socket(port: int) -> None:
    with socket.socket() as plain:
        plain.connect(("127.0.0.1", port))


def by_connect_ex(port: int) -> None:
    with socket.socket() as plain:
        plain.connect_ex(("127.0.0.1", port))


def by_name(port: int) -> None:
    socket.create_connection(("localhost", port)).close()


def by_urllib(port: int) -> None:
    urllib.request.urlopen(f"http://127.0.0.1:{port}").close()


def by_aiohttp(port: int) -> None:
    url = f"http://127.0.0.1:{port}"

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            await response.read()

    asyncio.run(get())


def by_asyncio(port: int) -> None:
    async def connect() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()

    asyncio.run(connect())


def by_another_thread(port: int) -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(by_socket, port).result()


Reach = Callable[[int], None]
WAYS = [by_socket, by_connect_ex, by_name, by_urllib, by_aiohttp, by_asyncio, by_another_thread]


@pytest.mark.parametrize("reach", WAYS)
def test_a_server_is_blocked_inside_the_block_and_reachable_after_it(
    reach: Reach, port: int
) -> None:
    with block_network(), pytest.raises(NetworkBlockedError, match=str(port)):
        reach(port)
    reach(port)


@pytest.mark.parametrize("reach", WAYS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.*"])
def test_an_allowed_host_is_reachable(reach: Reach, host: str, port: int) -> None:
    if reach is by_name and host == "127.*":
        pytest.skip("localhost may be another address")
    with block_network(allowed_hosts=[host]):
        reach(port)


def test_names_are_not_looked_up() -> None:
    with block_network(), pytest.raises(NetworkBlockedError, match=r"api\.example\.com"):
        socket.getaddrinfo("api.example.com", 443)


def test_a_host_allowed_by_name_is_reachable_at_its_address(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: [found])
    with block_network(allowed_hosts=["*.example.com"]):
        socket.create_connection(("api.example.com", port)).close()


def test_datagrams_are_blocked() -> None:
    with (
        block_network(),
        socket.socket(type=socket.SOCK_DGRAM) as plain,
        pytest.raises(NetworkBlockedError),
    ):
        plain.sendto(b"question", ("127.0.0.1", 53))


def test_unix_sockets_and_pairs_work(tmp_path: Path) -> None:
    with block_network(), socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
        first, second = socket.socketpair()
        first.close()
        second.close()


def test_a_blocked_socket_is_closed() -> None:
    with block_network(), socket.socket() as plain:
        with pytest.raises(NetworkBlockedError):
            plain.connect(("127.0.0.1", 1))
        assert plain.fileno() == -1


def test_nested_blocks_both_apply(port: int) -> None:
    outer, inner = block_network(), block_network(allowed_hosts=["127.0.0.1"])
    with outer, inner, pytest.raises(NetworkBlockedError):
        by_socket(port)
