"""`POST /feedback`: scores and corrections of answers that were served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.served import app_of, client_of, served

import lmpipe
from lmpipe.monitoring.feedback import FeedbackFolder
from lmpipe.serve.app import ServeApp

ROUTE, BATCH = "/v1/programs/route", "/v1/programs/route/batch"
ASKED = {"message": "Where is my parcel?"}


@pytest.fixture
def app(tmp_path: Path) -> ServeApp:
    return app_of(feedback=FeedbackFolder(tmp_path))


def rows_in(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "feedback.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def problem_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


async def test_a_correction_is_kept_with_the_inputs_and_the_answer(
    app: ServeApp, tmp_path: Path
) -> None:
    async with client_of(app) as client:
        name = (await client.post(ROUTE, json=ASKED)).headers["x-request-id"]
        body = {"id": name, "score": 0, "correction": {"team": "billing"}}
        answer = await client.post("/feedback", json=body)
    assert (answer.status_code, answer.json()) == (201, {**body, "score": 0.0})
    (row,) = rows_in(tmp_path)
    assert {**row, "at": 0} == {
        "id": name,
        "at": 0,
        "program": "route",
        "run": "run-a",
        "score": 0.0,
        "correction": {"team": "billing"},
        "inputs": ASKED,
        "outputs": {"team": "shipping"},
    }


async def test_answers_of_all_addresses_can_get_feedback(app: ServeApp, tmp_path: Path) -> None:
    async with client_of(app) as client:
        batch = await client.post(BATCH, json={"rows": [ASKED, {"message": "invoice"}]})
        chat = await client.post(
            "/v1/chat/completions",
            json={"model": "route", "messages": [{"role": "user", "content": "parcel"}]},
        )
        stream = await client.post(ROUTE, json=ASKED, headers={"accept": "text/event-stream"})
        ids = [
            batch.json()["results"][1]["id"],
            chat.json()["id"],
            stream.headers["x-request-id"],
        ]
        for name in ids:
            assert (await client.post("/feedback", json={"id": name, "score": 1})).is_success
    assert [row["outputs"]["team"] for row in rows_in(tmp_path)] == [
        "billing",
        "shipping",
        "shipping",
    ]


async def test_a_correction_of_one_output_is_its_value(app: ServeApp, tmp_path: Path) -> None:
    async with client_of(app) as client:
        name = (await client.post(ROUTE, json=ASKED)).headers["x-request-id"]
        await client.post("/feedback", json={"id": name, "correction": "billing"})
    assert rows_in(tmp_path)[0]["correction"] == {"team": "billing"}


async def test_a_correction_of_a_plain_result_is_its_value(tmp_path: Path) -> None:
    class Shout(lmpipe.Module):
        def forward(self, message: str) -> str:
            return message.upper()

    app = app_of(served(Shout(), name="shout"), feedback=FeedbackFolder(tmp_path))
    async with client_of(app) as client:
        name = (await client.post("/v1/programs/shout", json=ASKED)).headers["x-request-id"]
        await client.post("/feedback", json={"id": name, "correction": "HI"})
    assert rows_in(tmp_path)[0]["correction"] == {"result": "HI"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "id"),
        ({"id": 3}, "id"),
        ({"score": 2}, "score"),
        ({"score": "good"}, "score"),
        ({"correction": {"team": "kitchen"}}, "correction"),
        ({"correction": {"taem": "billing"}}, "correction"),
        ({"rating": 1}, "rating"),
        ({"score": None}, "score"),
    ],
)
async def test_feedback_that_cannot_be_used_is_refused(
    app: ServeApp, tmp_path: Path, body: dict[str, Any], field: str
) -> None:
    async with client_of(app) as client:
        name = (await client.post(ROUTE, json=ASKED)).headers["x-request-id"]
        given = body if field == "id" else {"id": name, **body}
        answer = await client.post("/feedback", json=given)
    assert problem_of(answer) == (422, "invalid-feedback")
    assert answer.json()["errors"][0]["field"] == field
    assert not (tmp_path / "feedback.jsonl").exists()


async def test_an_unknown_answer_has_no_feedback(app: ServeApp) -> None:
    async with client_of(app) as client:
        answer = await client.post("/feedback", json={"id": "abc", "score": 1})
    assert problem_of(answer) == (404, "no-such-answer")


async def test_a_server_without_a_folder_keeps_nothing() -> None:
    async with client_of(app_of()) as client:
        answer = await client.post("/feedback", json={"id": "abc", "score": 1})
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert problem_of(answer) == (404, "no-feedback")
    assert "/feedback" not in paths


async def test_the_document_describes_feedback(app: ServeApp) -> None:
    async with client_of(app) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert "post" in paths["/feedback"]


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(
    app: ServeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmpipe.monitoring.answers._MOST_WAITING", 1)  # each is written at once
    app.close()
    async with client_of(app) as client:
        answer = await client.post(ROUTE, json=ASKED)
    assert answer.json() == {"team": "shipping"}
    assert "answers.sqlite cannot be used" in caplog.text
