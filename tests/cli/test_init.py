"""`lmpipe init`: the project that it writes is tested, checked and compiled as its user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.serve_command import serving

import lmpipe
from lmpipe.cli import new_project
from lmpipe.cli.new_project import write_project

Cli = Callable[..., Any]

# Recorded in a new project by `lmpipe compile programs/tickets.py`, with these options and
# `--record`. The LM is the embedded one.
RECORDED = Path(__file__).parents[1] / "cassettes" / "new_project.jsonl"
SMALL = [
    "--val-size",
    "8",
    "--test-size",
    "10",
    "--train-size",
    "24",
    "--budget",
    "calls=150",
    "--no-ablation",
]

COMPILER = Path(lmpipe.__file__).parents[1]


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as a shell would."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "MAKE", "COV_"))}
    env = {**plain, "PYTHONPATH": str(COMPILER)}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )


def lmpipe_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "lmpipe", *arguments)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "demo"
    write_project(folder)
    return folder


def test_the_tests_of_a_new_project_pass_without_an_lm(project: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    result = run(project, "make", "test")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 passed" in result.stdout


def test_its_tests_fail_if_the_prompt_changes(project: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(project, changed)
    program = changed / "programs" / "tickets.py"
    program.write_text(program.read_text().replace("to the team that", "to the group that"))
    result = run(changed, sys.executable, "-m", "pytest", "-q")
    assert result.returncode == 1
    assert "[-team-] {+group+}" in result.stdout


def test_the_check_finds_no_problem(project: Path) -> None:
    result = lmpipe_in(project, "check", "programs/tickets.py")
    assert result.returncode == 0, result.stderr
    assert "no problems" in result.stdout


def test_it_compiles_and_its_run_is_served(project: Path, tmp_path: Path) -> None:
    compiled = tmp_path / "demo"
    shutil.copytree(project, compiled)
    replay = ["--replay", str(RECORDED)]
    result = lmpipe_in(compiled, "compile", "programs/tickets.py", *SMALL, *replay)
    assert result.returncode == 0, result.stderr
    (run_folder,) = (compiled / "runs").glob("*-tickets-*")
    assert (run_folder / "report.html").is_file()
    # A row of its test examples, whose reply is recorded.
    rows = (compiled / "data" / "tickets_test.jsonl").read_text().splitlines()
    row = next(row for row in map(json.loads, rows) if row["order"] == "FH-39127")
    environment = {"PYTHONPATH": str(COMPILER)}
    with serving(compiled, str(run_folder), "--trust", *replay, **environment) as (_, url):
        inputs = {"message": row["message"]}
        answer = httpx.post(f"{url}/v1/programs/tickets", json=inputs, timeout=60)
    assert answer.json() == {"team": "billing", "order": "FH-39127"}, answer.text


def test_its_makefile_knows_the_python_that_wrote_it(project: Path) -> None:
    assert sys.executable in (project / "local.mk").read_text()
    assert "/local.mk" in (project / ".gitignore").read_text().splitlines()


def test_what_exists_is_named_and_kept(cli: Cli, folder: Path) -> None:
    (folder / "demo").mkdir()
    (folder / "demo" / "README.md").write_text("mine")
    (folder / "demo" / "data").write_text("a file")
    result = cli("init", "demo")
    assert result.exit_code == 2
    assert "demo has files of these names already: " in result.stderr
    assert "README.md" in result.stderr
    assert "data/tickets_train.jsonl" in result.stderr
    assert "nothing was written" in result.stderr
    assert sorted(path.name for path in (folder / "demo").iterdir()) == ["README.md", "data"]


def test_a_folder_with_other_files_is_taken(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "demo" / ".git").mkdir(parents=True)
    monkeypatch.chdir(folder / "demo")
    result = cli("init", ".")
    assert result.exit_code == 0, result.stderr
    assert (folder / "demo" / "README.md").read_text().startswith("# demo\n")
    assert "cd " not in result.stdout


def test_a_file_is_not_a_folder(cli: Cli, folder: Path) -> None:
    (folder / "demo").write_text("")
    result = cli("init", "demo")
    assert result.exit_code == 2
    assert "demo: this is a file" in result.stderr


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    command = f"ulimit -f 8; exec {sys.executable} -m lmpipe init demo"
    result = run(tmp_path, "bash", "-c", command)
    assert result.returncode == 1
    assert "tickets_train.jsonl cannot be written: File too large" in result.stderr
    assert not (tmp_path / "demo").exists()


def test_a_link_to_nowhere_exists(cli: Cli, folder: Path) -> None:
    (folder / "demo").mkdir()
    (folder / "demo" / "Makefile").symlink_to("nowhere")
    result = cli("init", "demo")
    assert result.exit_code == 2
    assert "already: Makefile; nothing was written" in result.stderr


@pytest.mark.parametrize(
    ("lm", "requirement"),
    [
        ("local", "lmpipe[local,serve]"),
        ("local/Qwen/Qwen2.5-0.5B-Instruct-GGUF/*q4_k_m.gguf", "lmpipe[local,hub,serve]"),
        ("openai/gpt-5.1", "lmpipe[serve]"),
        ("openai/llama3@http://127.0.0.1:11434/v1", "lmpipe[serve]"),
        ("vllm/small@http://127.0.0.1:8000/v1", "lmpipe[serve]"),
        ("anthropic/claude-opus-4-5", "lmpipe[litellm,serve]"),
    ],
)
def test_the_lm_is_named_in_one_place(tmp_path: Path, lm: str, requirement: str) -> None:
    write_project(tmp_path / "demo", lm)
    table = tomllib.loads((tmp_path / "demo" / "lmpipe.toml").read_text())
    assert table == {"lms": {"student": {"model": lm}}}
    assert (tmp_path / "demo" / "requirements.txt").read_text().startswith(requirement + "~=")


def test_a_weights_file_is_an_lm(cli: Cli, folder: Path) -> None:
    (folder / "small.gguf").write_bytes(b"GGUF")
    result = cli("init", "demo", "--lm", "small.gguf", "--json")
    assert json.loads(result.stdout)["lm"] == f"local/{folder / 'small.gguf'}"


@pytest.mark.parametrize("lm", ["nowhere.gguf", "gpt", ""])
def test_a_wrong_lm_is_refused_before_anything_is_written(cli: Cli, folder: Path, lm: str) -> None:
    result = cli("init", "demo", "--lm", lm)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert not (folder / "demo").exists()


def test_missing_packages_are_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_project, "find_spec", lambda name: None)
    result = cli("init", "demo")
    assert "pip install 'lmpipe[local,serve]' pytest" in result.stdout
