"""What a client is told when a request fails, and what the log is told."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any

import httpx
import pydantic
import pytest
from helpers.served import app_of, client_of, served
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import lmpipe
from lmpipe.errors import (
    CutError,
    LMRequestError,
    LMUnavailableError,
    RefusalError,
    SignatureError,
    ToolServerError,
)
from lmpipe.lm.request import Reply
from lmpipe.serve.access_log import AccessLog

ROUTE = "/v1/programs/route"
SECRET = "sk-a-key-that-nobody-may-see"


async def post(app: Any, body: Any = None, **more: Any) -> httpx.Response:
    async with client_of(app) as client:
        body = {"message": "?"} if body is None else body
        return await client.post(ROUTE, json=body, **more)


@pytest.mark.parametrize(
    ("body", "field", "pointer", "remedy"),
    [
        ({}, "message", "/message", "add 'message', a value of type str"),
        ({"message": 3}, "message", "/message", "send a value of type str"),
        ({"message": "?", "urgency": 9}, "urgency", "/urgency", "send a value of type int"),
        ({"message": "?", "urgensy": 1}, "urgensy", "/urgensy", "send it as 'urgency'"),
        (
            {"message": "?", "team": "billing"},
            "team",
            "/team",
            "leave it out: send message: str, urgency: int (optional)",
        ),
        ({"message": "?", "a/b~": 1}, "a/b~", "/a~1b~0", "leave it out"),
    ],
)
async def test_wrong_inputs_are_told_with_field_and_remedy(
    body: Any, field: str, pointer: str, remedy: str
) -> None:
    answer = await post(app_of(), body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:lmpipe:problem:invalid-inputs"
    assert problem["instance"] == f"urn:lmpipe:request:{answer.headers['x-request-id']}"
    (error,) = problem["errors"]
    assert (error["field"], error["pointer"]) == (field, pointer)
    assert error["remedy"].startswith(remedy)


async def test_all_wrong_inputs_are_told_at_once_and_places_inside_of_them() -> None:
    program = lmpipe.Predict("names: list[int], place: str -> team")
    answer = await post(app_of(served(program)), {"names": [1, "x", "y"]})
    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert pointers == ["/names/1", "/names/2", "/place"]


class Item(pydantic.BaseModel):
    price: int | float
    name: str


@pytest.mark.parametrize(
    ("item", "pointers"),
    [
        ({"price": "much", "name": "a"}, ["/items/0/price", "/items/0/price"]),
        ({"price": 1}, ["/items/0/name"]),
        (3, ["/items/0"]),
    ],
)
async def test_places_are_those_of_the_value_and_not_of_its_types(
    item: Any, pointers: list[str]
) -> None:
    class Sum(lmpipe.Signature):
        """Add the prices."""

        items: list[Item] = lmpipe.Input()
        total: float = lmpipe.Output()

    answer = await post(app_of(served(lmpipe.Predict(Sum))), {"items": [item]})
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers


async def test_of_many_problems_the_first_are_told() -> None:
    program = lmpipe.Predict("names: list[int] -> team")
    answer = await post(app_of(served(program)), {"names": ["x"] * 1000})
    assert len(answer.json()["errors"]) == 20


def test_a_type_that_no_client_can_send_is_told_at_the_start() -> None:
    class Odd:
        pass

    class Takes(lmpipe.Module):
        def forward(self, odd) -> str:  # type: ignore[no-untyped-def]
            return ""

    Takes.forward.__annotations__["odd"] = Odd
    with pytest.raises(SignatureError, match="one of odd: Odd has no JSON schema"):
        app_of(served(Takes()))


@pytest.mark.parametrize(
    ("content", "kind", "status", "problem"),
    [
        (b"[]", "application/json", 422, "invalid-inputs"),
        (b"{", "application/json", 400, "invalid-json"),
        (b"\xff", "application/json", 400, "invalid-json"),
        (b'{"message": "?"}', "text/plain", 415, "json-needed"),
    ],
)
async def test_bodies_that_are_no_json_object_are_refused(
    content: bytes, kind: str, status: int, problem: str
) -> None:
    async with client_of(app_of()) as client:
        answer = await client.post(ROUTE, content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["type"].endswith(problem)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("POST", "/v1/programs/nope", 404), ("DELETE", ROUTE, 405)],
)
async def test_addresses_that_are_none_are_problems_too(
    method: str, path: str, status: int
) -> None:
    async with client_of(app_of()) as client:
        answer = await client.request(method, path, json={})
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.json()["remedy"]


async def test_an_unknown_program_is_answered_with_those_that_there_are() -> None:
    async with client_of(app_of()) as client:
        answer = await client.post("/v1/programs/nope", json={})
    assert answer.json()["remedy"] == "ask for one of route"


class Fails(lmpipe.Module):
    """Raises what it is given."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def forward(self, message: str) -> str:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry"),
    [
        (LMUnavailableError(f"down: {SECRET}", retry_after=7.2), 503, "lm-unavailable", "8"),
        (LMRequestError(f"bad key {SECRET}"), 502, "lm-refused", None),
        (RefusalError(f"no {SECRET}", raw=""), 502, "declined", None),
        (CutError(f"cut {SECRET}", raw=""), 502, "unusable-answer", None),
        (ToolServerError(f"gone {SECRET}"), 503, "tools-unavailable", "1"),
        (ValueError(f"postgres://me:{SECRET}@db"), 500, "program-failed", None),
    ],
)
async def test_what_a_program_raises_is_a_problem_without_its_text(
    error: Exception,
    status: int,
    kind: str,
    retry: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    requests = io.StringIO()
    access = AccessLog(requests)
    app = app_of(served(Fails(error), api_key=SECRET), access_log=access)
    with caplog.at_level(logging.INFO, "lmpipe.serve"):
        answer = await post(app)
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, retry)
    assert answer.json()["type"].endswith(f":{kind}")
    assert answer.json()["remedy"]
    assert SECRET not in answer.text
    access.flush()
    (failed,) = [record.getMessage() for record in caplog.records]
    assert failed.startswith(answer.headers["x-request-id"])
    assert type(error).__name__ in failed
    assert f"POST {ROUTE} {status}" in requests.getvalue()
    assert SECRET not in failed + requests.getvalue()


async def test_the_log_has_neither_inputs_nor_queries_nor_line_breaks() -> None:
    requests = io.StringIO()
    access = AccessLog(requests)
    async with client_of(app_of(access_log=access)) as client:
        answer = await client.post(f"{ROUTE}?key={SECRET}", json={"message": "a private word"})
        await client.get("/a%0A%1B[31mb" + "x" * 500)
    access.flush()
    first, second = requests.getvalue().splitlines()
    assert f"{answer.headers['x-request-id']} POST {ROUTE} 200 " in first
    assert first.endswith(" ms run=run-a")
    assert "private" not in first
    assert SECRET not in first
    assert " GET /a bxxx" in second
    assert len(second) < 300


class Waits(lmpipe.Module):
    """Waits until it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = False

    async def forward(self, message: str) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return ""


@pytest.mark.parametrize(
    ("headers", "options"),
    [({"lmpipe-timeout": "0.01"}, {}), ({}, {"deadline": 0.01})],
    ids=["header", "server"],
)
async def test_a_run_that_misses_its_deadline_is_ended(
    headers: dict[str, str], options: dict[str, Any]
) -> None:
    program = Waits()
    answer = await post(app_of(served(program), **options), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:lmpipe:problem:deadline")
    assert program.cancelled


class Asks(lmpipe.Module):
    """Asks its LM three times."""

    def __init__(self) -> None:
        self.word = lmpipe.Predict("message, number: int -> word")

    def forward(self, message: str) -> list[str]:
        return [self.word(message=message, number=number).word for number in range(3)]


@pytest.mark.parametrize(
    ("headers", "options", "status", "asked"),
    [
        ({"lmpipe-max-calls": "2"}, {}, 422, 2),
        ({"lmpipe-max-calls": "9"}, {"max_calls": 1}, 422, 1),
        ({"lmpipe-max-calls": "3"}, {}, 200, 3),
    ],
)
async def test_a_run_makes_no_more_calls_than_its_request_allows(
    headers: dict[str, str], options: dict[str, Any], status: int, asked: int
) -> None:
    run = served(Asks(), script=lambda request: "[[word]]\nyes")
    answer = await post(app_of(run, **options), headers=headers)
    assert answer.status_code == status
    lm: Any = run.settings.lm
    assert len(lm.requests) == asked


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf", "1.5"])
async def test_limits_that_are_no_numbers_are_told(value: str) -> None:
    answer = await post(app_of(), headers={"lmpipe-max-calls": value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "lmpipe-max-calls"


async def test_an_unusable_reply_is_told_from_a_failed_program() -> None:
    answer = await post(app_of(served(script=lambda request: Reply("no team"))))
    assert answer.json()["type"] == "urn:lmpipe:problem:unusable-answer"


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        HTTPException(404),
        ClientDisconnect(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("path", [ROUTE, f"{ROUTE}/batch", f"{ROUTE}?stream"])
async def test_what_would_stop_a_server_or_pass_for_its_own_is_a_failure_of_the_program(
    error: BaseException, path: str
) -> None:
    app = app_of(served(Fails(error)))
    body = {"rows": [{"message": "?"}]} if path.endswith("batch") else {"message": "?"}
    headers = {"accept": "text/event-stream"} if path.endswith("stream") else {}
    async with client_of(app) as client:
        answer = await client.post(path, json=body, headers=headers)
    assert "urn:lmpipe:problem:program-failed" in answer.text
    assert app.slots.taken == 0
