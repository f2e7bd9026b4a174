"""`lmpipe eval`: on the test set of the compile, and on other examples."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
Write = Callable[[str, str], str]


@pytest.mark.parametrize("split", ["test", "val"])
def test_the_score_is_reproduced(cli: Cli, compiled: str, split: str) -> None:
    result = cli("eval", compiled, "--trust", "--split", split)
    assert "reproduces the compile's score exactly" in result.stdout, result.output


def test_the_score_of_a_compile_with_options_is_reproduced(cli: Cli, folder: Path) -> None:
    cli("compile", "colours.py", "--test-size", "12", "--seed", "4", "--runs", "out")
    (run,) = (folder / "out").iterdir()
    verdict = json.loads(cli("eval", str(run), "--trust", "--json").stdout)
    assert (verdict["examples"], verdict["compile"]["reproduced"]) == (12, True)


def test_the_program_can_be_given_as_a_file(cli: Cli, compiled: str) -> None:
    result = cli("eval", compiled, "--program", "colours.py")
    assert "reproduces" in result.stdout


def test_a_changed_instruction_is_told_with_how_to_use_either(
    cli: Cli, compiled: str, write: Write
) -> None:
    write(
        "changed.py",
        "class Named(NameColour):\n    'Which colour does it have?'\n"
        "recipe = recipe.replace(program=lmpipe.Predict(Named))",
    )
    result = cli("eval", compiled, "--program", "changed.py")
    assert result.exit_code == 0
    assert "the declared instruction differs from the one that" in result.stderr
    assert "self: 'the thing' is 'it' now" in result.stderr
    assert "the run's instruction is used; to use the declared one, compile again" in result.stderr


def test_an_unchanged_instruction_is_not_mentioned(cli: Cli, compiled: str) -> None:
    assert "instruction" not in cli("eval", compiled, "--program", "colours.py").stderr


def test_a_trusted_run_finds_its_program_from_any_folder(
    cli: Cli, compiled: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "colours.py").write_text("1 / 0  # another program of this name\n")
    monkeypatch.chdir(elsewhere)
    assert "reproduces" in cli("eval", f"../{compiled}", "--trust").stdout


def test_a_trusted_run_finds_its_data_from_any_folder(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f'{{"thing": "sky number {n}", "colour": "blue"}}\n' for n in range(900, 905)]
    (folder / "mine.jsonl").write_text("".join(rows))
    cli("compile", "colours.py", "--test", "mine.jsonl")
    (run,) = (folder / "runs").iterdir()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert "reproduces" in cli("eval", f"../runs/{run.name}", "--trust").stdout


def test_a_program_that_cannot_be_found_can_be_named(
    cli: Cli, compiled: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    moved = tmp_path_factory.mktemp("other") / "run"
    (folder / compiled).rename(moved)
    (folder / "colours.py").rename(folder / "renamed.py")
    result = cli("eval", str(moved), "--trust")
    assert result.exit_code == 2
    assert "was compiled from colours.py" in result.stderr
    assert "--program FILE" in result.stderr


def test_a_changed_metric_is_named(cli: Cli, compiled: str, write: Write) -> None:
    write("colours.py", "recipe = recipe.replace(metric=lambda example, prediction: 0.5)")
    assert "metric changed since" in cli("eval", compiled, "--trust").stdout


def test_an_untrusted_folder_cannot_choose_the_server(
    cli: Cli, compiled: str, folder: Path
) -> None:
    file = folder / compiled / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["overrides"] = {
        "student": {"model": "openai/x", "base_urls": ["http://127.0.0.1:9/v1"]},
        "test": "/etc/passwd",
    }
    file.write_text(json.dumps(manifest))
    assert cli("eval", compiled, "--program", "colours.py").exit_code == 0


def test_a_program_file_is_scored_as_declared(cli: Cli) -> None:
    summary = json.loads(cli("eval", "colours.py", "--json").stdout)
    assert summary["examples"] == 40
    assert summary["compile"] is None


def test_failures_are_counted_by_kind(cli: Cli) -> None:
    assert "2 output" in cli("eval", "colours.py").stdout


def test_the_worst_rows_come_with_their_errors(cli: Cli) -> None:
    out = cli("eval", "colours.py", "--worst", "1").stdout
    for word in ("inputs", "gold", "prediction", "failure", "reply"):
        assert f"\n  {word}" in out


def test_rows_are_written_to_a_jsonl_file(cli: Cli, folder: Path) -> None:
    cli("eval", "colours.py", "--out", "rows.jsonl")
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(40))


def test_rows_are_written_to_a_csv_file(cli: Cli, folder: Path) -> None:
    cli("eval", "colours.py", "--out", "rows.csv")
    with (folder / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert {"thing", "colour", "prediction", "score", "failure"} <= set(rows[0])


def test_other_examples_can_be_scored(cli: Cli, compiled: str, folder: Path) -> None:
    (folder / "own.jsonl").write_text('{"thing": "sky number 1", "colour": "blue"}\n')
    result = cli("eval", compiled, "--trust", "--data", "own.jsonl", "--json")
    assert json.loads(result.stdout)["examples"] == 1


LOOPING = """
class Loop(TwoSteps):
    def forward(self, thing: str):
        for word in thing.split():
            self.describe(thing=word)
        return super().forward(thing)

recipe = make(name="", program=Loop())
"""


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line_without_the_librarys_code(
    cli: Cli, write: Callable[..., str]
) -> None:
    result = cli("eval", write("loop.py", LOOPING))
    assert result.exit_code == 0
    (line,) = [line for line in result.stderr.splitlines() if "max_calls" in line]
    assert line.startswith("warning: one run of Loop used describe")
