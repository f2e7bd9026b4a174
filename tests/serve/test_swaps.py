"""New runs are swapped in while requests run: by an operator, or when a compile has ended."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers.run_copies import copy_run, open_run, source_of
from helpers.served import client_of, served

import lmpipe
from lmpipe.errors import ArtifactError
from lmpipe.serve.app import ServeApp
from lmpipe.serve.deployment import Deployment, Programs
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.run_source import RunSource

TICKETS, RUNS = "/v1/programs/tickets", "/v1/programs/tickets/runs"
OPERATOR = {"authorization": "Bearer key-of-an-operator"}
TESTED = json.loads((Path(__file__).parents[2] / "runs/sample/tickets/manifest.json").read_text())[
    "test"
]


def app_on(folder: Path, run: str = "a") -> ServeApp:
    """Serve a run of a folder of runs, beside which others may be."""
    programs = Programs([Deployment([open_run(folder / run)], [1.0])])
    options = ServeOptions(admin_keys=["key-of-an-operator"])
    return ServeApp(programs, options, sources={"tickets": source_of(folder)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_run(tmp_path, "a", minute=1)
    copy_run(tmp_path, "b", minute=2, note=" Prefer shipping.")
    return tmp_path


async def ask(client: Any) -> tuple[str, str]:
    answer = await client.post(TICKETS, json={"message": "?"})
    assert answer.status_code == 200
    return answer.headers["lmpipe-run"], answer.json()["team"]


async def swap(client: Any, *runs: Any, headers: Any = OPERATOR) -> Any:
    return await client.put(RUNS, json={"runs": list(runs)}, headers=headers)


async def test_an_operator_swaps_a_run_in(folder: Path) -> None:
    async with client_of(app_on(folder)) as client:
        before = await ask(client)
        swapped = await swap(client, {"run": "b"})
        after = await ask(client)
    assert (before, after) == (("a", "billing"), ("b", "shipping"))
    assert [(run["run"], run["share"]) for run in swapped.json()["runs"]] == [("b", 1.0)]


async def test_an_operator_shares_the_requests_between_two_runs(folder: Path) -> None:
    async with client_of(app_on(folder)) as client:
        await swap(client, {"run": "a", "share": 3}, {"run": "b", "share": 1})
        told = {await ask(client) for _ in range(60)}
        described = (await client.get(TICKETS)).json()["runs"]
    assert told == {("a", "billing"), ("b", "shipping")}
    assert [run["share"] for run in described] == [0.75, 0.25]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer key-of-a-stranger"}])
async def test_nobody_else_swaps_runs(folder: Path, headers: dict[str, str]) -> None:
    async with client_of(app_on(folder)) as client:
        refused = await swap(client, {"run": "b"}, headers=headers)
        after = await ask(client)
    assert (refused.status_code, after) == (403, ("a", "billing"))
    assert "LMPIPE_SERVE_ADMIN_KEYS" in refused.json()["remedy"]


@pytest.mark.parametrize(
    ("runs", "status", "detail"),
    [
        ([{"run": "nope"}], 409, "there is no run folder 'nope'"),
        ([{"run": "../elsewhere"}], 409, "there is no run folder '../elsewhere'"),
        ([{"run": "broken"}], 409, "does not match manifest.json"),
        ([{"run": "unfinished"}], 409, "holds no finished compile"),
        ([{"run": "b", "share": 0}], 422, "a share above 0"),
        ([{"run": "b", "share": True}], 422, "a share above 0"),
        ([{"run": "a"}, {"run": "a"}], 422, "different runs"),
        ([{"folder": "b"}], 422, "is not a list"),
        ([], 422, "is not a list"),
    ],
)
async def test_a_swap_that_cannot_be_leaves_what_is_served(
    folder: Path, runs: list[Any], status: int, detail: str
) -> None:
    copy_run(folder, "unfinished", status="running")
    (copy_run(folder, "broken") / "program.json").write_text("{}")
    copy_run(folder.parent / f"{folder.name}-other", "elsewhere")
    async with client_of(app_on(folder)) as client:
        refused = await swap(client, *runs)
        after = await ask(client)
    assert refused.status_code == status
    assert detail in refused.json()["errors"][0]["detail"]
    assert after == ("a", "billing")


async def test_a_run_of_another_program_is_refused(folder: Path) -> None:
    programs = Programs([Deployment([served(name="route")], [1.0])])
    options = ServeOptions(admin_keys=["key-of-an-operator"])
    app = ServeApp(programs, options)
    async with client_of(app) as client:
        refused = await client.put(
            "/v1/programs/route/runs", json={"runs": [{"run": "b"}]}, headers=OPERATOR
        )
    assert refused.status_code == 409
    assert "start the server with a run folder" in refused.json()["errors"][0]["detail"]


async def test_a_run_that_ended_well_is_swapped_in_and_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_on(folder)
    async with client_of(app) as client:
        with caplog.at_level(logging.INFO, "lmpipe.serve"):
            await app.watch.look()
        after = await ask(client)
    assert after == ("b", "shipping")
    assert "tickets: b replaces a" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"minute": 0},
        {"minute": 3, "status": "running"},
        {"minute": 3, "status": "interrupted"},
        {"minute": 3, "test": {**TESTED, "interval": [-0.1, 0.5]}},
        {"minute": 3, "program": {**{"class": "Other", "signatures": {}}, "name": "other"}},
    ],
    ids=["older", "running", "interrupted", "not better", "another program"],
)
async def test_other_runs_are_not(folder: Path, changes: dict[str, Any]) -> None:
    copy_run(folder, "c", **changes)
    app = app_on(folder, "b")
    await app.watch.look()
    async with client_of(app) as client:
        assert (await ask(client))[0] == "b"


async def test_an_experiment_with_two_runs_is_left_alone(folder: Path) -> None:
    copy_run(folder, "c", minute=9)
    app = app_on(folder)
    runs = [open_run(folder / name) for name in ("a", "b")]
    app.programs.swap(Deployment(runs, [1.0, 1.0]))
    await app.watch.look()
    described = [run["run"] for run in next(iter(app.programs)).describe()]
    assert described == ["a", "b"]


async def test_a_run_that_does_not_fit_is_told_once_and_not_served(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copy_run(folder, "c", minute=9) / "program.json").write_text("{}")
    app = app_on(folder)
    with caplog.at_level(logging.INFO, "lmpipe.serve"):
        await app.watch.look()
        await app.watch.look()
    assert caplog.text.count("swap of tickets to c failed") == 1
    async with client_of(app) as client:
        assert (await ask(client))[0] == "a"


async def test_runs_in_flight_end_with_the_run_that_they_began_with() -> None:
    class Held(lmpipe.Module):
        def __init__(self, begun: asyncio.Event, end: asyncio.Event, says: str) -> None:
            self.begun, self.end, self.says = begun, end, says

        async def forward(self, message: str) -> str:
            self.begun.set()
            await self.end.wait()
            return self.says

    begun, end = asyncio.Event(), asyncio.Event()
    old, new = (served(Held(begun, end, run), run=run) for run in ("old", "new"))
    app = ServeApp(Programs([Deployment([old], [1.0])]))
    async with client_of(app) as client:
        first = asyncio.create_task(client.post("/v1/programs/route", json={"message": "?"}))
        await begun.wait()
        app.programs.swap(Deployment([new], [1.0]))
        end.set()
        second = await client.post("/v1/programs/route", json={"message": "?"})
        answers = [await first, second]
    assert [(item.headers["lmpipe-run"], item.json()["result"]) for item in answers] == [
        ("old", "old"),
        ("new", "new"),
    ]


async def test_requests_during_swaps_are_neither_lost_nor_answered_by_a_mixture(
    folder: Path,
) -> None:
    app = app_on(folder)
    runs = {name: Deployment([open_run(folder / name)], [1.0]) for name in ("a", "b")}
    gate = asyncio.Semaphore(16)
    async with client_of(app) as client:

        async def one(number: int) -> tuple[str, str]:
            async with gate:
                if number % 25 == 0:
                    app.programs.swap(runs["ab"[number // 25 % 2]])
                return await ask(client)

        answers = await asyncio.gather(*map(one, range(300)))
    assert set(answers) == {("a", "billing"), ("b", "shipping")}


def test_a_source_reads_no_folder_outside(folder: Path) -> None:
    copy_run(folder.parent / f"{folder.name}-other", "elsewhere")
    source = source_of(folder)
    for name in ("../elsewhere", f"../{folder.name}-other/elsewhere", "/etc", "", "."):
        with pytest.raises(ArtifactError, match="there is no run folder"):
            source.open(name)


async def test_a_look_that_fails_is_told_once_and_stops_no_other(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = served(name="other")
    programs = Programs([Deployment([run], [1.0]) for run in (other, open_run(folder / "a"))])
    gone = source_of(folder / "gone")
    app = ServeApp(programs, sources={"other": gone, "tickets": source_of(folder)})

    def newest_or_error(source: RunSource) -> str | None:
        if source is gone:
            raise PermissionError("no")
        return newest(source)

    newest = RunSource.newest
    monkeypatch.setattr(RunSource, "newest", newest_or_error)
    with caplog.at_level(logging.INFO, "lmpipe.serve"):
        await app.watch.look()
        await app.watch.look()
    assert caplog.text.count("the look for newer runs of other failed: PermissionError: no") == 1
    assert "tickets: b replaces a" in caplog.text
