"""Who may come in: keys, hosts, sizes, and how many at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.served import app_of, client_of, served

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.serve.options import ServeOptions, check_exposure

ROUTE = "/v1/programs/route"
KEY, OTHER = "a-key-of-a-client", "another-clients-key"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer  {OTHER}"}, 200),
        ({"x-api-key": KEY}, 200),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": f"Bearer {KEY}x"}, 401),
        ({"authorization": "Bearer kéy"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({}, 401),
    ],
)
async def test_a_server_with_keys_answers_only_with_one(
    headers: dict[str, str], status: int
) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    async with client_of(app_of(keys=[KEY, OTHER])) as client:
        answer = await client.post(ROUTE, json={"message": "?"}, headers=encoded)
        listed = await client.get("/openapi.json", headers=encoded)
    assert (answer.status_code, listed.status_code) == (status, status)
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer" in answer.json()["remedy"]


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs"])
async def test_load_balancers_and_the_page_need_no_key(path: str) -> None:
    async with client_of(app_of(keys=[KEY])) as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
    ],
)
async def test_a_server_without_keys_answers_no_page_of_another_site(
    host: str, status: int
) -> None:
    async with client_of(app_of(local_only=True)) as client:
        answer = await client.get("/health", headers={"host": host})
    assert answer.status_code == status


@pytest.mark.parametrize("streamed", [False, True], ids=["length said", "length not said"])
async def test_bodies_that_are_too_large_are_refused(streamed: bool) -> None:
    async def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 10

    content = pieces() if streamed else b"x" * 200
    async with client_of(app_of(max_body=100)) as client:
        answer = await client.post(
            ROUTE, content=content, headers={"content-type": "application/json"}
        )
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:lmpipe:problem:too-large")


class Held(lmpipe.Module):
    """Runs until the test lets it end."""

    def __init__(self) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()

    async def forward(self, message: str) -> str:
        self.begun.set()
        await self.end.wait()
        return message


async def test_more_requests_than_slots_are_told_to_come_again() -> None:
    program = Held()
    app = app_of(served(program), concurrency=1)
    async with client_of(app) as client:
        first = asyncio.create_task(client.post(ROUTE, json={"message": "1"}))
        await program.begun.wait()
        second = await client.post(ROUTE, json={"message": "2"})
        health, ready = await client.get("/health"), await client.get("/ready")
        program.end.set()
        answered = await first
        third = await client.post(ROUTE, json={"message": "3"})
    assert (second.status_code, second.headers["retry-after"]) == (429, "1")
    assert second.json()["type"] == "urn:lmpipe:problem:busy"
    assert (health.json(), ready.json()) == ({"status": "ok"}, {"status": "ready", "free": 0})
    assert (answered.json(), third.json()) == ({"result": "1"}, {"result": "3"})


async def test_a_failed_run_gives_its_slot_back() -> None:
    app = app_of(served(script=lambda request: "no team"), concurrency=1)
    async with client_of(app) as client:
        answers = [await client.post(ROUTE, json={"message": "?"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [502, 502]


async def test_a_server_that_stops_is_not_ready() -> None:
    app = app_of()
    app.ready = False
    async with client_of(app) as client:
        answer = await client.get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "stopping")


@pytest.mark.parametrize("keys", [["short"], ["not-äscii-key"], [""]])
def test_keys_that_are_easy_to_guess_are_refused(keys: list[str]) -> None:
    with pytest.raises(ConfigError, match="openssl rand"):
        ServeOptions(keys=keys)


def test_options_do_not_show_keys() -> None:
    assert KEY not in repr(ServeOptions(keys=[KEY], admin_keys=[OTHER]))


@pytest.mark.parametrize(
    ("host", "keys", "public", "allowed"),
    [
        ("127.0.0.1", (), False, True),
        ("::1", (), False, True),
        ("0.0.0.0", (), False, False),
        ("10.0.0.1", (), False, False),
        ("0.0.0.0", (KEY,), False, True),
        ("0.0.0.0", (), True, True),
    ],
)
def test_strangers_are_let_in_only_with_a_key_or_on_purpose(
    host: str, keys: tuple[str, ...], public: bool, allowed: bool
) -> None:
    options = ServeOptions(keys=keys)
    if allowed:
        check_exposure(host, options, public=public)
    else:
        with pytest.raises(ConfigError, match="LMPIPE_SERVE_KEYS"):
            check_exposure(host, options, public=public)
