"""Certificates: the system's authorities, a custom authority, and client certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from helpers.byte_server import OK, ByteServer, answering, serving
from helpers.certificates import CA, CLIENT, OTHER_CA, server_context

from lmpipe.errors import ConfigError
from lmpipe.lm.http.client import HttpClient
from lmpipe.lm.http.errors import CertificateError, ConnectError, HttpError
from lmpipe.lm.http.response import Response
from lmpipe.lm.tls import TLS


@asynccontextmanager
async def client(
    server: ByteServer, tls: TLS | None = None, host: str = "localhost"
) -> AsyncIterator[HttpClient]:
    made = HttpClient(f"https://{host}:{server.port}", tls=tls)
    try:
        yield made
    finally:
        await made.aclose()


async def ask(http: HttpClient) -> Response:
    return await http.request("POST", "/chat", b"hi", timeout=60.0)


async def test_a_server_with_a_trusted_certificate_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CA))
    async with serving(answering(OK), server_context()) as server, client(server) as http:
        assert [(await ask(http)).body for _ in range(2)] == [b"ok"] * 2
    assert server.connections == 1


async def test_a_custom_authority_is_trusted() -> None:
    async with (
        serving(answering(OK), server_context()) as server,
        client(server, TLS(ca=CA)) as http,
    ):
        assert (await ask(http)).body == b"ok"


@pytest.mark.parametrize("tls", [None, TLS(ca=OTHER_CA)])
async def test_a_certificate_of_an_unknown_authority_is_refused(tls: TLS | None) -> None:
    async with serving(answering(OK), server_context()) as server, client(server, tls) as http:
        with pytest.raises(CertificateError, match="issuer certificate"):
            await ask(http)
    assert server.requests == []


async def test_a_certificate_for_another_host_is_refused() -> None:
    async with (
        serving(answering(OK), server_context()) as server,
        client(server, TLS(ca=CA), "127.0.0.1") as http,
    ):
        with pytest.raises(CertificateError, match="mismatch"):
            await ask(http)


async def test_a_client_certificate_is_shown_to_a_server_that_asks() -> None:
    context = server_context(asks_for_certificate=True)
    async with (
        serving(answering(OK), context) as server,
        client(server, TLS(ca=CA, cert=CLIENT)) as http,
    ):
        assert (await ask(http)).body == b"ok"


async def test_a_server_that_misses_the_client_certificate_refuses() -> None:
    context = server_context(asks_for_certificate=True)
    async with serving(answering(OK), context) as server, client(server, TLS(ca=CA)) as http:
        with pytest.raises(HttpError):
            await ask(http)
    assert server.requests == []


async def test_the_reason_of_a_server_that_refuses_is_shown() -> None:
    context = server_context(asks_for_certificate=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # with 1.3 a reset may overtake the reason
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def shake_hands() -> None:  # asyncio's servers do not send the reason
            accepted = listener.accept()[0]
            with accepted, pytest.raises(ssl.SSLError):
                context.wrap_socket(accepted, server_side=True)

        handshake = asyncio.create_task(asyncio.to_thread(shake_hands))
        http = HttpClient(f"https://localhost:{listener.getsockname()[1]}", tls=TLS(ca=CA))
        with pytest.raises(CertificateError, match="ALERT_HANDSHAKE_FAILURE"):
            await ask(http)
        await handshake


async def test_a_server_without_tls_cannot_be_reached_by_https() -> None:
    async def script(
        server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(script) as server, client(server) as http:
        with pytest.raises(ConnectError):
            await ask(http)


def test_certificates_for_a_server_without_tls_are_refused() -> None:
    with pytest.raises(ConfigError, match="https://"):
        HttpClient("http://server.test/v1", tls=TLS(ca=CA))
