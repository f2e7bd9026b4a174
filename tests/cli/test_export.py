"""`lmpipe export`: rows for training elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

FINETUNED = """
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
