"""docs/watch.md: its examples run, and its commands, options, spans and metrics exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.filler import fill
from helpers.mlflow_server import mlflow_server
from helpers.pages import ROOT, blocks, examples_of, read_page, run_examples
from helpers.served import client_of
from helpers.world import recipe
from typer.testing import CliRunner

import lmpipe
from lmpipe.serve.app import ServeApp

PAGE = read_page("watch.md")
LINES = [line for block in blocks(PAGE, "sh") for line in block.splitlines()]
ID = "5f2c9e1a00000003"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Collectors and servers for the examples, with nothing that is sent in the background."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    for name in ("TRACES", "METRICS"):
        monkeypatch.setenv(f"OTEL_{name}_EXPORTER", "none")
    with mlflow_server() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        yield


async def test_the_examples_run_and_feedback_is_learned_from(
    sent: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before, last = examples_of("watch.md").split("lmpipe.feedback(")
    with lmpipe.using(lm=lmpipe.ScriptedLM(fill)):
        names = run_examples(before, tmp_path, recipe=recipe())
        app = names["app"]
        assert isinstance(app, ServeApp)
        names["instrumentation"].stop()
        async with client_of(app) as client:
            asked = await client.post(
                "/v1/programs/tickets", json={"message": "?"}, headers={"x-request-id": ID}
            )
            body = {"id": ID, "score": 0, "correction": {"team": "shipping"}}
            assert (await client.post("/feedback", json=body)).status_code == 201
    assert asked.json() == {"team": "billing"}
    app.close()
    run_examples(f"import lmpipe\nlmpipe.feedback({last}", tmp_path)
    (example,) = lmpipe.read_feedback("said")
    assert dict(example.labels) == {"team": "shipping"}
    assert len((tmp_path / "said" / "feedback.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("lmpipe ")])
def test_the_commands_and_their_options_exist(line: str) -> None:
    from lmpipe.cli import app

    words = line.partition("#")[0].split()
    known = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
    assert [word for word in words if word.startswith("--") and word not in known] == []


def test_the_request_of_the_page_is_json() -> None:
    (said,) = re.findall(r"-d '(\{.*\})'", PAGE)
    assert json.loads(said)["id"] == ID


def test_the_tables_name_what_the_code_makes() -> None:
    folder = ROOT / "compiler" / "lmpipe" / "integrations" / "open_telemetry"
    code = "\n".join(file.read_text() for file in folder.glob("*.py"))
    tables = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`((?:gen_ai|lmpipe)\.[a-z_.]+[a-z])`", tables))
    assert len(named) > 20
    assert {name for name in named if f'"{name}"' not in code} == set()
