"""The compiled tickets program is served: recorded replies of the embedded LM, real clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from helpers.http_servers import serving
from helpers.pages import ROOT
from helpers.serve_command import serving as serving_command
from mcp import Client

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.current import Settings, configured_lm
from lmpipe.lm.runtime import Runtime
from lmpipe.serve.app import ServeApp
from lmpipe.serve.deployment import Deployment, Programs, ServedRun
from lmpipe.settings import using
from lmpipe.signatures.signature import result_to_json

CASSETTE = ROOT / "tests" / "cassettes" / "tickets.jsonl"


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    made = Runtime(store=Cassette(CASSETTE, mode="none"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def run(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    """The compile of `tests/real/test_tickets.py`."""
    optimizer = lmpipe.RandomSearch(
        candidates=3, demos=6, bootstrapped=2, threshold=0.75, constrained_share=1.0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        recipe = load_recipe("programs/tickets.py").replace(
            student=lmpipe.LM("local"),
            val_size=12,
            test_size=16,
            optimizer=optimizer,
            ablation=False,
        )
        with using(lm=recipe.student, runtime=runtime):
            return lmpipe.compile(recipe, runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def url(run: lmpipe.Run, runtime: Runtime) -> Iterator[str]:
    program = lmpipe.load(run.path, run.program)
    served = ServedRun("tickets", run.path.name, program, Settings(configured_lm(), runtime))
    with serving(ServeApp(Programs([Deployment([served], [1.0])]), mcp=True)) as server:
        yield server.url


def rows_of(run: lmpipe.Run) -> list[tuple[str, dict[str, Any]]]:
    """The messages of the final test and the answers that the compile got."""
    assert run.test is not None
    rows = run.test.evaluations["compiled"].rows
    found = [
        (row.example.inputs["message"], result_to_json(row.prediction))
        for row in rows
        if row.failure is None
    ]
    assert len(found) > 10
    return found


def test_it_answers_as_it_did_in_the_final_test(run: lmpipe.Run, url: str) -> None:
    with httpx.Client(base_url=url) as client:
        for message, expected in rows_of(run):
            answer = client.post("/v1/programs/tickets", json={"message": message})
            assert answer.json() == expected
            assert answer.headers["lmpipe-run"] == run.path.name


def test_openais_client_gets_the_same(run: lmpipe.Run, url: str) -> None:
    message, expected = rows_of(run)[0]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="tickets", messages=[{"role": "user", "content": message}]
        )
    assert json.loads(answer.choices[0].message.content or "") == expected
    assert answer.system_fingerprint == run.path.name


async def test_a_client_of_the_mcp_gets_the_same(run: lmpipe.Run, url: str) -> None:
    message, expected = rows_of(run)[0]
    async with Client(f"{url}/mcp") as client:
        answer = await client.call_tool("tickets", {"message": message})
    assert answer.structured_content == expected


def test_the_command_serves_the_run_folder(run: lmpipe.Run) -> None:
    message, expected = rows_of(run)[0]
    arguments = [str(run.path), "--program", "programs/tickets.py", "--replay", str(CASSETTE)]
    with serving_command(ROOT, *arguments) as (_, url):
        answer = httpx.post(f"{url}/v1/programs/tickets", json={"message": message}, timeout=60)
    assert answer.json() == expected
