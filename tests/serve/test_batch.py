"""Batches: an answer or a problem for each row, in their order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.served import app_of, client_of, served

import lmpipe
from lmpipe.serve.app import ServeApp
from lmpipe.serve.deployment import Deployment, Programs

BATCH = "/v1/programs/route/batch"


async def test_each_row_has_an_answer_or_a_problem_of_its_own() -> None:
    rows = [{"message": "parcel"}, {"mesage": "?"}, {"message": "invoice"}, 3]
    async with client_of(app_of()) as client:
        answer = await client.post(BATCH, json={"rows": rows})
    results = answer.json()["results"]
    name = answer.headers["x-request-id"]
    expected = {"outputs": {"team": "shipping"}, "run": "run-a", "calls": 1, "id": f"{name}.0"}
    assert results[0] == expected
    assert results[2]["outputs"] == {"team": "billing"}
    assert [item["problem"]["status"] for item in (results[1], results[3])] == [422, 422]
    assert results[1]["problem"]["instance"].endswith(f"{answer.headers['x-request-id']}.1")


@pytest.mark.parametrize("body", [[], {}, {"rows": []}, {"rows": {"message": "?"}}, 3])
async def test_what_is_no_batch_is_refused(body: Any) -> None:
    async with client_of(app_of()) as client:
        answer = await client.post(BATCH, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "rows")


async def test_a_batch_has_only_so_many_rows() -> None:
    async with client_of(app_of(max_batch=2)) as client:
        answer = await client.post(BATCH, json={"rows": [{"message": "?"}] * 3})
    assert answer.status_code == 413


class Counts(lmpipe.Module):
    """Knows how many of its runs were in flight at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def forward(self, message: str) -> str:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now -= 1
        return message


async def test_a_batch_takes_half_of_the_free_slots_and_gives_them_back() -> None:
    program = Counts()
    app = app_of(served(program), concurrency=8)
    rows = [{"message": str(number)} for number in range(30)]
    async with client_of(app) as client:
        answer = await client.post(BATCH, json={"rows": rows})
    assert [item["outputs"]["result"] for item in answer.json()["results"]] == [
        str(number) for number in range(30)
    ]
    assert (program.most, app.slots.taken) == (4, 0)


async def test_a_batch_waits_for_nobody() -> None:
    app = app_of(concurrency=1)
    async with client_of(app) as client:
        with app.slots.take():
            answer = await client.post(BATCH, json={"rows": [{"message": "?"}]})
    assert answer.status_code == 429


async def test_rows_are_shared_by_runs_and_tell_theirs() -> None:
    runs = [served(run="run-a"), served(run="run-b")]
    app = ServeApp(Programs([Deployment(runs, [1.0, 1.0])]))
    rows = {"rows": [{"message": "?"}] * 40}
    async with client_of(app) as client:
        both = (await client.post(BATCH, json=rows)).json()["results"]
        one = await client.post(BATCH, json=rows, headers={"lmpipe-run": "run-b"})
    assert {item["run"] for item in both} == {"run-a", "run-b"}
    assert {item["run"] for item in one.json()["results"]} == {"run-b"}


async def test_an_output_that_is_no_json_fails_only_its_row() -> None:
    class Says(lmpipe.Module):
        def forward(self, message: str) -> str:
            return "\ud800" if message == "bad" else message

    rows = [{"message": "bad"}, {"message": "good"}]
    async with client_of(app_of(served(Says()))) as client:
        answer = await client.post(BATCH, json={"rows": rows})
    first, second = answer.json()["results"]
    assert first["problem"]["type"] == "urn:lmpipe:problem:program-failed"
    assert second["outputs"] == {"result": "good"}
