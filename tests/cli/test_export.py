"""`lmpipe export`: rows for training elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.mlflow_server import mlflow_server

Cli = Callable[..., Any]

FINETUNED = """
from helpers.mlflow_server import mlflow_server
from helpers.world import answer_trained

student = lmpipe.ScriptedLM(answer_trained)
recipe = make(name="", optimizer=lmpipe.BootstrapFinetune(), student=student)
"""


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_passed_rollouts_become_rows(cli: Cli, folder: Path) -> None:
    cli("compile", "colours.py", "--optimizer", "bootstrap")
    out = cli("export", str(only_run(folder)), "--trust").stdout
    (exported,) = (folder / "rows").iterdir()
    found = rows(exported)
    assert out.splitlines()[0] == f"rows/self.jsonl: {len(found)} rows"
    assert [turn["role"] for turn in found[0]["prompt"]] == ["system", "user"]
    assert found[0]["completion"][0]["content"].startswith("[[colour]]")


def test_openai_rows_are_conversations(cli: Cli, folder: Path) -> None:
    cli("compile", "colours.py", "--optimizer", "bootstrap")
    cli("export", str(only_run(folder)), "--trust", "--format", "openai-rows", "--out", "there")
    for row in rows(folder / "there" / "self.jsonl"):
        assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]


def test_the_rows_of_trained_weights_are_exported_without_the_program(
    cli: Cli, folder: Path, write: Callable[..., str]
) -> None:
    file = write("trained.py", FINETUNED)
    cli("compile", file)
    run = only_run(folder)
    if not (run / "weights").is_dir():
        pytest.fail("the weights of this world help")
    (folder / file).unlink()
    cli("export", str(run))
    for kept in (run / "weights").iterdir():
        assert rows(folder / "rows" / f"{kept.name}.jsonl") == rows(kept / "rows.jsonl")


def test_a_run_without_rollouts_is_refused(cli: Cli, folder: Path) -> None:
    cli("compile", "colours.py", "--optimizer", "labeled")
    result = cli("export", str(only_run(folder)), "--trust")
    assert result.exit_code == 2
    assert "has no fine-tuning rows" in result.stderr


def test_prompts_are_exported_and_compared(cli: Cli, folder: Path, compiled: str) -> None:
    result = cli("export", compiled, "--trust", "--format", "messages")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "prompts/self.json",
        "prompts/prompt_reader.py",
        "the same as in the runtime: 30 prompts and 30 replies",
    ]
    written = {file.name for file in (folder / "prompts").iterdir()}
    assert written == {"self.json", "prompt_reader.py"}


def test_request_bodies_are_exported_for_the_batch_api(
    cli: Cli, folder: Path, compiled: str
) -> None:
    result = cli("export", compiled, "--trust", "--format", "openai", "--out", "bodies")
    assert result.exit_code == 0, result.stderr
    found = rows(folder / "bodies" / "self.jsonl")
    assert len({row["custom_id"] for row in found}) == len(found) == 30
    assert {row["url"] for row in found} == {"/v1/chat/completions"}
    assert all(row["body"]["messages"][-1]["role"] == "user" for row in found)


def test_jinja_templates_are_exported(cli: Cli, folder: Path, compiled: str) -> None:
    result = cli("export", compiled, "--trust", "--format", "jinja")
    assert result.exit_code == 0, result.stderr
    template = json.loads((folder / "prompts" / "self.json").read_text())
    assert template["variables"] == {"thing": "json"}
    assert template["messages"][-1]["content"] == '{"thing":{{ thing }}}'


def test_no_lm_is_asked_without_leave(cli: Cli, folder: Path, compiled: str) -> None:
    arguments = ("export", compiled, "--trust", "--format", "messages", "--cache", "empty")
    refused = cli(*arguments)
    assert refused.exit_code == 2
    assert "neither in the cache nor in a cassette" in refused.stderr
    assert cli(*arguments, "--ask").exit_code == 0


def test_prompts_are_exported_without_a_comparison(cli: Cli, folder: Path, compiled: str) -> None:
    result = cli(
        "export", compiled, "--trust", "--format", "messages", "--cache", "e", "--unchecked"
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "not compared with the runtime (--unchecked)"


def test_a_program_without_scores_is_not_registered(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = cli("export", "colours.py", "--to", "mlflow")
    assert result.exit_code == 2
    assert "colours.py is not a run folder, and has no scores to register" in result.stderr


def test_a_program_is_exported_as_declared(cli: Cli, folder: Path) -> None:
    result = cli("export", "colours.py", "--format", "messages", "--ask")
    assert result.exit_code == 0, result.stderr
    document = json.loads((folder / "prompts" / "self.json").read_text())
    assert len(document["messages"]) == 1


def test_a_name_is_for_a_registry(cli: Cli, folder: Path) -> None:
    result = cli("export", "colours.py", "--format", "messages", "--name", "shop")
    assert result.exit_code == 2
    assert "give --to mlflow or --to langfuse" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--to", "mlflow", "--out", "there"), "--out cannot be used with --to"),
        (("--to", "langfuse", "--unchecked"), "--unchecked cannot be used with --to"),
        (("--ask", "--allow-unread"), "--ask and --allow-unread cannot be used with fine-tuning"),
        (("--format", "openai-rows", "--data", "x"), "choose a --format other than openai-rows"),
        (("--format", "openai", "--unchecked"), "leave out --unchecked"),
        (
            ("--format", "dspy", "--allow-unread"),
            "--allow-unread cannot be used with --format dspy",
        ),
    ],
)
def test_options_without_an_effect_are_refused(
    cli: Cli, folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = cli("export", "colours.py", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_compile_is_logged_at_mlflow(
    cli: Cli, compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlflow_server() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        result = cli("export", compiled, "--to", "mlflow-run")
        assert result.stdout.strip() == f"{server.url}/#/experiments/0/runs/0"
        assert server.run.status == "FINISHED"


def test_a_program_is_exported_for_dspy(cli: Cli, folder: Path, compiled: str) -> None:
    pytest.importorskip("dspy", reason="needs lmpipe[dspy]")
    result = cli("export", compiled, "--trust", "--format", "dspy")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "prompts/dspy_state.json",
        "prompts/dspy_program.py",
        "the same in DSPy as its signatures, demonstrations and values here: "
        "30 prompts and 30 replies",
    ]
    state = json.loads((folder / "prompts" / "dspy_state.json").read_text())
    assert state["signature"]["instructions"] in (folder / "prompts/dspy_program.py").read_text()


def test_without_dspy_nothing_is_exported_for_it(
    cli: Cli, folder: Path, compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("lmpipe.integrations.dspy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dspy", None)
    result = cli("export", compiled, "--trust", "--format", "dspy")
    assert result.exit_code == 2
    assert "pip install 'lmpipe[dspy]'" in result.stderr
