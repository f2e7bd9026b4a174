"""The parts of URLs."""

from __future__ import annotations

import base64

import pytest

from lmpipe.lm.http.address import Address
from lmpipe.lm.http.errors import UrlError


@pytest.mark.parametrize(
    ("url", "host", "port", "origin"),
    [
        ("http://Example.org/v1", "example.org", 80, "http://example.org:80"),
        ("https://example.org", "example.org", 443, "https://example.org:443"),
        ("https://example.org:80", "example.org", 80, "https://example.org:80"),
        ("http://127.0.0.1:8000/v1", "127.0.0.1", 8000, "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1", "::1", 8000, "http://[::1]:8000"),
        ("http://[::1]", "::1", 80, "http://[::1]:80"),
        ("http://my_server", "my_server", 80, "http://my_server:80"),
        ("http://bücher.example", "xn--bcher-kva.example", 80, "http://xn--bcher-kva.example:80"),
        ("http://me:secret@x", "x", 80, "http://x:80"),
    ],
)
def test_host_and_port(url: str, host: str, port: int, origin: str) -> None:
    address = Address.parse(url)
    assert (address.host, address.port, address.origin) == (host, port, origin)


def test_paths_are_quoted_and_queries_kept() -> None:
    address = Address.parse("http://x/a b/%20ü/?version=1 2")
    assert (address.path, address.query) == ("/a%20b/%20%C3%BC", "?version=1%202")


def test_credentials_are_read_and_not_shown() -> None:
    address = Address.parse("http://me:p%40ss@x:1/v1")
    assert address.credentials == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
    assert address.credentials not in repr(address)


@pytest.mark.parametrize(
    "url",
    ["", "x", "http://", "http:///v1", "ftp://x", "http://x:0", "http://x:99999", "http://[::/v1",
     "http://a b/", "http://a..b/", f"http://{'a' * 64}.org", "http://x:port"],
)  # fmt: skip
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(UrlError):
        Address.parse(url)


def test_a_refusal_does_not_show_the_password() -> None:
    with pytest.raises(UrlError) as caught:
        Address.parse("http://me:hunter#2@x/v1")
    assert "hunter" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "loopback"),
    [("http://localhost", True), ("http://127.1.2.3", True), ("http://[::1]", True),
     ("http://10.0.0.1", False), ("http://localhost.org", False)],
)  # fmt: skip
def test_loopback_is_recognized(url: str, loopback: bool) -> None:
    assert Address.parse(url).is_loopback is loopback
