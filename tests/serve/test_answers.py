"""A program answers over HTTP: typed JSON in and out, and what is told beside it."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from helpers.served import app_of, client_of, route, served

import lmpipe
from lmpipe.lm.runtime import Runtime

ROUTE = "/v1/programs/route"


async def test_a_program_answers_with_its_outputs_and_tells_the_run_and_what_it_took() -> None:
    async with client_of(app_of()) as client:
        answer = await client.post(ROUTE, json={"message": "Where is my parcel?"})
    assert (answer.status_code, answer.json()) == (200, {"team": "shipping"})
    assert answer.headers["lmpipe-run"] == "run-a"
    calls, fresh, tokens = answer.headers["lmpipe-usage"].split(", ")
    assert (calls, fresh) == ("calls=1", "fresh_calls=1")
    assert int(tokens.removeprefix("tokens=")) > 0


async def test_the_id_of_a_request_is_the_clients_or_a_new_one() -> None:
    async with client_of(app_of()) as client:
        own = await client.post(ROUTE, json={"message": "?"}, headers={"x-request-id": "abc-1"})
        made = [(await client.get("/health")).headers["x-request-id"] for _ in range(2)]
        odd = await client.get("/health", headers={"x-request-id": "a b"})
    assert own.headers["x-request-id"] == "abc-1"
    assert len({*made, odd.headers["x-request-id"], "a b"}) == 4


class Plan(lmpipe.Module):
    """Plan a trip."""

    def __init__(self) -> None:
        self.days = lmpipe.Predict("place -> days: int")

    def forward(self, place: str, start: datetime.date, people: int = 2) -> dict[str, Any]:
        days = self.days(place=place).days
        return {"end": start + datetime.timedelta(days=days), "people": people}


@lmpipe.predict
def double(number: int) -> int:
    """Double a number."""
    raise NotImplementedError


async def test_parameters_of_forward_are_inputs_and_a_mapping_is_the_answer() -> None:
    app = app_of(served(Plan(), name="plan", script=lambda request: "[[days]]\n3"))
    async with client_of(app) as client:
        answer = await client.post(
            "/v1/programs/plan", json={"place": "Bern", "start": "2026-01-30"}
        )
    assert answer.json() == {"end": "2026-02-02", "people": 2}


async def test_a_plain_result_is_the_field_result() -> None:
    app = app_of(served(double, name="double", script=lambda request: "[[result]]\n42"))
    async with client_of(app) as client:
        answer = await client.post("/v1/programs/double", json={"number": 21})
        about = (await client.get("/v1/programs/double")).json()
    assert answer.json() == {"result": 42}
    assert about["outputs"]["properties"] == {"result": {"type": "integer"}}


async def test_whole_numbers_of_any_size_keep_their_digits() -> None:
    app = app_of(served(double, name="double", script=lambda request: f"[[result]]\n{2**70}"))
    async with client_of(app) as client:
        answer = await client.post("/v1/programs/double", json={"number": 2**69})
    assert answer.text == f'{{"result":{2**70}}}'


async def test_a_cached_answer_took_no_fresh_call(tmp_path: Any) -> None:
    run = served()
    runtime = lmpipe.settings.make_runtime(cache=tmp_path)
    run = type(run)(run.name, run.run, run.program, type(run.settings)(run.settings.lm, runtime))
    async with client_of(app_of(run)) as client:
        first = await client.post(ROUTE, json={"message": "?"})
        again = await client.post(ROUTE, json={"message": "?"})
    runtime.close()
    took = [item.headers["lmpipe-usage"].partition(", tokens")[0] for item in (first, again)]
    assert took == ["calls=1, fresh_calls=1", "calls=1, fresh_calls=0"]


class Sees(lmpipe.Signature):
    """Describe the picture."""

    picture: lmpipe.Image = lmpipe.Input()
    words: str = lmpipe.Output()


@pytest.mark.parametrize("value", ["/etc/hostname", {"image": {"path": "/etc/hostname"}}])
async def test_no_file_of_the_server_is_read_for_a_client(value: Any) -> None:
    app = app_of(served(lmpipe.Predict(Sees), name="sees", script=route))
    async with client_of(app) as client:
        answer = await client.post("/v1/programs/sees", json={"picture": value})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "picture"


async def test_programs_are_listed_and_described() -> None:
    async with client_of(app_of(served(), served(double, name="double"))) as client:
        listed = (await client.get("/v1/programs")).json()["programs"]
        about = (await client.get(ROUTE)).json()
    assert [item["name"] for item in listed] == ["route", "double"]
    assert listed[0]["about"] == "Route a ticket to a team."
    assert [(run["run"], run["share"], run["lm"]) for run in listed[0]["runs"]] == [
        ("run-a", 1.0, "scripted/scripted")
    ]
    assert about["inputs"]["required"] == ["message"]
    assert about["inputs"]["properties"]["urgency"]["maximum"] == 5
    assert about["outputs"]["properties"]["team"]["enum"] == ["billing", "shipping"]


async def test_programs_run_on_their_own_lm_and_not_on_the_configured_one() -> None:
    other = lmpipe.ScriptedLM(lambda request: "[[team]]\nshipping")
    with lmpipe.using(lm=other, runtime=Runtime()):
        async with client_of(app_of()) as client:
            answer = await client.post(ROUTE, json={"message": "?"})
    assert answer.json() == {"team": "billing"}
    assert other.requests == []


class Undocumented(lmpipe.Module):
    def forward(self, text: str) -> str:
        return text


@pytest.mark.parametrize(
    ("program", "about"),
    [
        (double, "Double a number."),
        (Plan(), "Plan a trip."),
        (Undocumented(), ""),
        (lmpipe.ReAct("question -> answer", tools=[]), "Given `question`, give `answer`."),
    ],
)
def test_a_program_is_described_by_its_declaration(program: Any, about: str) -> None:
    assert served(program).interface.about == about


def test_what_a_program_learned_is_not_shown() -> None:
    declared = lmpipe.Predict(Sees)
    state = declared.state()
    learned = declared.bind(
        state.update({"self": state["self"].replace(instruction="What a compile found out.")})
    )
    assert served(learned).interface.about == "Describe the picture."
