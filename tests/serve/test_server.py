"""The server listens where it is told, and stops at once when it is told twice."""

from __future__ import annotations

import json
import socket
import threading

import httpx
import pytest
from helpers.http_servers import serving
from helpers.served import Held, app_of, served

from lmpipe.errors import ConfigError
from lmpipe.serve import client_gone
from lmpipe.serve.server import HttpServer


def test_a_port_that_is_taken_is_told_with_the_remedy() -> None:
    first = HttpServer(app_of())
    with pytest.raises(ConfigError, match=f"port {first.port}: .*--port 0"):
        HttpServer(app_of(), port=first.port)
    first.close()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("::1", "http://[::1]:"),
        ("0.0.0.0", "http://127.0.0.1:"),
    ],
)
def test_its_address_is_that_on_this_machine(host: str, expected: str) -> None:
    server = HttpServer(app_of(), host=host)
    assert server.url == f"{expected}{server.port}"
    server.close()


def test_a_second_stop_ends_what_still_runs() -> None:
    program = Held()
    answers: list[httpx.Response] = []

    def ask(url: str) -> None:
        answers.append(httpx.post(f"{url}/v1/programs/route", json={"message": "?"}, timeout=60))

    with serving(app_of(served(program)), grace=3600) as server:
        asking = threading.Thread(target=ask, args=(server.url,))
        asking.start()
        assert program.begun.wait(60)
        server.stop()
        server.stop()
        asking.join(60)
    assert [(answer.status_code, answer.json()["type"]) for answer in answers] == [
        (503, "urn:lmpipe:problem:stopping")
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/programs/route", {"message": "?"}),
        (
            "/v1/chat/completions",
            {"model": "route", "messages": [{"role": "user", "content": "?"}], "stream": True},
        ),
    ],
)
def test_a_silent_stream_ends_when_its_client_goes_away(
    path: str, body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_gone, "AFTER", 0.0)
    program = Held()
    app = app_of(served(program))
    with serving(app) as server:
        headers = {"accept": "text/event-stream"}
        with httpx.stream("POST", server.url + path, json=body, headers=headers) as answer:
            assert program.begun.wait(60)
        assert program.ended.wait(60)
    assert (answer.status_code, app.slots.taken) == (200, 0)


def test_a_tool_ends_when_the_client_that_called_it_goes_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client_gone, "AFTER", 0.0)
    program = Held()
    app = app_of(served(program), mcp=True)
    call = {"name": "route", "arguments": {"message": "?"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    lines = [
        "POST /mcp HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Content-Length: {len(body)}",
    ]
    with serving(app) as server:
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            assert program.begun.wait(60)
        assert program.ended.wait(60)
    assert app.slots.taken == 0
    assert "failed" not in caplog.text
