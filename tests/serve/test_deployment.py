"""The runs of a program share its requests, and are swapped."""

from __future__ import annotations

import pytest
from helpers.served import client_of, served

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.serve.app import ServeApp, make_app
from lmpipe.serve.deployment import Deployment, Programs

ROUTE = "/v1/programs/route"


def both(share: float = 1.0) -> Deployment:
    return Deployment([served(run="run-a"), served(run="run-b")], [1.0, share])


def test_units_are_spread_by_the_shares_and_stay_where_they_are() -> None:
    deployment = both(3.0)
    chosen = [deployment.choose(str(number)).run for number in range(2000)]
    assert chosen == [deployment.choose(str(number)).run for number in range(2000)]
    assert 0.72 < chosen.count("run-b") / 2000 < 0.78


def test_another_share_moves_only_the_units_that_it_has_to() -> None:
    before, after = both(1.0), both(3.0)
    units = [str(number) for number in range(500)]
    moved = [(before.choose(unit).run, after.choose(unit).run) for unit in units]
    assert ("run-b", "run-a") not in moved


async def test_the_answer_tells_the_run_and_a_client_may_choose_it() -> None:
    app = ServeApp(Programs([both()]))
    async with client_of(app) as client:
        told = {
            (await client.post(ROUTE, json={"message": "?"})).headers["lmpipe-run"]
            for _ in range(40)
        }
        unit = {
            (
                await client.post(ROUTE, json={"message": "?"}, headers={"lmpipe-unit": "user-1"})
            ).headers["lmpipe-run"]
            for _ in range(20)
        }
        chosen = await client.post(ROUTE, json={"message": "?"}, headers={"lmpipe-run": "run-b"})
        wrong = await client.post(ROUTE, json={"message": "?"}, headers={"lmpipe-run": "run-z"})
    assert told == {"run-a", "run-b"}
    assert len(unit) == 1
    assert chosen.headers["lmpipe-run"] == "run-b"
    assert (wrong.status_code, wrong.json()["errors"][0]["remedy"]) == (
        409,
        "send one of run-a, run-b, or leave it out",
    )


async def test_a_failure_tells_its_run_too() -> None:
    app = ServeApp(
        Programs([Deployment([served(run="run-a", script=lambda request: "no team")], [1.0])])
    )
    async with client_of(app) as client:
        answer = await client.post(ROUTE, json={"message": "?"})
    assert (answer.status_code, answer.headers["lmpipe-run"]) == (502, "run-a")


async def test_a_run_may_have_a_name_that_no_header_holds() -> None:
    app = ServeApp(Programs([Deployment([served(run="läufe-1"), served(run="b")], [1.0, 1.0])]))
    async with client_of(app) as client:
        chosen = await client.post(
            ROUTE, json={"message": "?"}, headers={"lmpipe-run": "l%C3%A4ufe-1"}
        )
    assert (chosen.status_code, chosen.headers["lmpipe-run"]) == (200, "l%C3%A4ufe-1")


@pytest.mark.parametrize(
    ("runs", "shares", "message"),
    [
        ([], [], "a run or more"),
        ([served()], [1.0, 1.0], "a share for each"),
        ([served(), served()], [1.0, 1.0], "the same run twice"),
        ([served()], [0.0], "above 0"),
        ([served(), served(name="other", run="b")], [1.0, 1.0], "other names"),
        ([served(), served(lmpipe.Predict("a -> b"), run="b")], [1.0, 1.0], "other inputs"),
    ],
)
def test_deployments_that_make_no_sense_are_refused(
    runs: list[object], shares: list[float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Deployment(runs, shares)  # type: ignore[arg-type]


def test_programs_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="same name"):
        Programs([both(), both()])


def test_a_swap_is_for_a_program_that_is_there() -> None:
    with pytest.raises(ConfigError, match="it has route"):
        Programs([both()]).swap(Deployment([served(name="nope")], [1.0]))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "_a", "ürün", "a@b", "a" * 101])
def test_names_that_no_url_model_or_tool_can_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="program's name in URLs"):
        make_app({name: lmpipe.Predict("message -> team")})


@pytest.mark.parametrize("shares", [[float("inf"), 1.0], [1e308, 1e308], [float("nan"), 1.0]])
def test_shares_without_a_finite_sum_are_refused(shares: list[float]) -> None:
    with pytest.raises(ConfigError, match="finite sum"):
        Deployment([served(run="run-a"), served(run="run-b")], shares)
