"""The proxy settings of the environment, against a local proxy."""

from __future__ import annotations

import base64

import pytest
from helpers.byte_server import OK, answering, serving
from helpers.certificates import CA, server_context
from helpers.local_proxy import proxying

from lmpipe.errors import ConfigError
from lmpipe.lm.http.address import Address
from lmpipe.lm.http.client import HttpClient
from lmpipe.lm.http.errors import ConnectError
from lmpipe.lm.http.proxy import proxy_for
from lmpipe.lm.http.response import Response
from lmpipe.lm.tls import TLS

LOGIN = "me:hunter2"
ENCODED = base64.b64encode(LOGIN.encode())


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def ask(http: HttpClient) -> Response:
    return await http.request("POST", "/chat", b"hi", timeout=60.0)


async def ask_twice(http: HttpClient) -> list[bytes]:
    try:
        return [(await ask(http)).body for _ in range(2)]
    finally:
        await http.aclose()


async def test_http_goes_to_the_proxy_with_the_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK)) as server, proxying(server.port, LOGIN) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{LOGIN}@127.0.0.1:{proxy.port}")
        http = HttpClient("http://server.test:81/v1", headers={"X-Token": "t"})
        assert await ask_twice(http) == [b"ok"] * 2
    (head,) = proxy.heads  # the second request goes through the same connection
    assert head.startswith(b"POST http://server.test:81/v1/chat HTTP/1.1\r\n")
    assert b"\r\nHost: server.test:81\r\n" in head
    assert b"\r\nProxy-Authorization: Basic " + ENCODED in head


async def test_https_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        serving(answering(OK), server_context()) as server,
        proxying(server.port, LOGIN) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@127.0.0.1:{proxy.port}")
        http = HttpClient("https://server.test/v1", headers={"X-Token": "t"}, tls=TLS(ca=CA))
        assert await ask_twice(http) == [b"ok"] * 2
    (connect,) = proxy.heads
    assert connect.startswith(b"CONNECT server.test:443 HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic " + ENCODED in connect
    assert b"X-Token" not in connect
    assert [head.partition(b" HTTP")[0] for head in server.requests] == [b"POST /v1/chat"] * 2
    assert not any(b"Proxy-Authorization" in head for head in server.requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    async with proxying(1, LOGIN) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://me:wrong-secret@127.0.0.1:{proxy.port}")
        http = HttpClient(f"{scheme}://server.test/v1")
        if scheme == "http":
            assert (await ask(http)).status == 407
        else:
            with pytest.raises(
                ConnectError, match=r"proxy 127\.0\.0\.1:\d+ answered 407"
            ) as caught:
                await ask(http)
            assert "secret" not in repr(caught.value)
        await http.aclose()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_away_is_an_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{LOGIN}@127.0.0.1:1")
    http = HttpClient(f"{scheme}://server.test/v1")
    with pytest.raises(ConnectError) as caught:
        await ask(http)
    await http.aclose()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machine_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.test:1")
    async with serving(answering(OK)) as server:
        http = HttpClient(f"http://{host}:{server.port}/v1")
        assert await ask_twice(http) == [b"ok"] * 2


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("server.test", "http://server.test/v1"),
        ("a.test, server.test:8000", "http://server.test:8000/v1"),
        (".test", "http://server.test/v1"),
        ("test", "https://server.test/v1"),
        ("*", "https://server.test/v1"),
        ("10.0.0.7", "http://10.0.0.7:8000/v1"),
        ("192.168.0.0/16,10.0.0.0/8", "http://10.1.2.3:8000/v1"),
        ("fd00::/8", "http://[fd00::1]:8000/v1"),
    ],
)
def test_servers_in_no_proxy_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str
) -> None:
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert proxy_for(Address.parse(url)) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "http://server.test/v1"),
        ("other.test", "http://server.test/v1"),
        ("server.test:8000", "http://server.test:8001/v1"),
        ("10.0.0.0/8,nonsense/99", "http://11.1.2.3:8000/v1"),
        ("10.0.0.0/8", "http://[fd00::1]:8000/v1"),
    ],
)
def test_servers_that_are_not_in_no_proxy_are_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str
) -> None:
    monkeypatch.setenv("http_proxy", "proxy.test:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    proxy = proxy_for(Address.parse(url))
    assert proxy is not None
    assert proxy.origin == "http://proxy.test:3128"


def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://me:hunter2@127.0.0.1:1")
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as caught:
        HttpClient("https://server.test")
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "server.test")
    HttpClient("https://server.test")
