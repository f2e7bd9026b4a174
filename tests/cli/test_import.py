"""`lmpipe import` writes a data file that a compile reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import lmpipe
from lmpipe.cli import app

FILES = Path(__file__).parents[1] / "data" / "traces" / "files"

PROGRAM = """
import lmpipe

recipe = lmpipe.Recipe(
    program=lmpipe.Predict("question -> answer"),
    train=lmpipe.Source("rows.jsonl", inputs=["question"]),
    metric=lmpipe.metrics.exact_match("answer"),
    optimizer="labeled",
    student=lmpipe.ScriptedLM(lambda request: "Aare"),
)
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_traces_go_through_to_a_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("import", FILES / "mlflow.json", "--map", FILES / "mlflow.toml")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "rows.jsonl: 5 rows; left out: 1 disliked, 1 failed",
        "lmpipe.Source(\"rows.jsonl\", inputs=['question'])  # labels: answer, request, topic",
    ]
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert rows[1]["answer"] == "Lake Geneva"
    Path("program.py").write_text(PROGRAM)
    compiled = run("compile", "program.py", "--seed", 0)
    assert compiled.exit_code == 0, compiled.output
    [folder] = Path("runs").iterdir()
    assert isinstance(lmpipe.load(folder, lmpipe.Predict("question -> answer")), lmpipe.Module)


def test_the_uses_of_a_predictor_are_rows(tmp_path: Path) -> None:
    out = tmp_path / "topics.jsonl"
    arguments = ["--map", FILES / "langsmith.toml", "--predictor", "choose_topic", "--out", out]
    result = run("import", FILES / "langsmith.jsonl", *arguments)
    assert result.exit_code == 0, result.output
    assert "inputs=['request'])  # labels: topic" in result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["topic"] for row in rows} == {"rivers", "lakes"}


def test_a_wrong_file_is_bad_input_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    arguments = ["--map", FILES / "langfuse.toml", "--out", out, "--format", "otlp"]
    result = run("import", FILES / "langfuse.json", *arguments)
    assert result.exit_code == 2
    assert "langfuse.json: item 1: has no resourceSpans" in result.output
    assert not out.exists()


def test_the_traces_are_not_overwritten(tmp_path: Path) -> None:
    traces = tmp_path / "traces.jsonl"
    before = (FILES / "langsmith.jsonl").read_bytes()
    traces.write_bytes(before)
    result = run("import", traces, "--map", FILES / "langsmith.toml", "--out", traces)
    assert result.exit_code == 2
    assert "would overwrite the file that is read" in result.output
    assert traces.read_bytes() == before


def test_rows_are_written_to_json_lines_only(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    result = run("import", FILES / "mlflow.json", "--map", FILES / "mlflow.toml", "--out", out)
    assert result.exit_code == 2
    assert "give a name that ends in .jsonl" in result.output
    assert not out.exists()


def test_missing_folders_are_made(tmp_path: Path) -> None:
    out = tmp_path / "data" / "new" / "rows.jsonl"
    result = run("import", FILES / "mlflow.json", "--map", FILES / "mlflow.toml", "--out", out)
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) == 5


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    out = tmp_path / "data" / "rows.jsonl"
    result = run("import", FILES / "mlflow.json", "--map", FILES / "mlflow.toml", "--out", out)
    assert result.exit_code != 0
    assert not isinstance(result.exception, OSError)
