"""`lmpipe migrate` writes a whole file or none, reports what it did, and compares."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lmpipe.cli import app

SOURCE = 'import dspy\n\nanswer = dspy.Predict("question -> answer")\nanswer.demos = []\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(SOURCE)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["migrate", *map(str, arguments)])


def test_it_writes_the_new_file_beside_the_old_one_and_reports(file: Path) -> None:
    result = run(file, "--no-run")
    new = file.with_name("program_lmpipe.py")
    assert result.exit_code == 0, result.output
    assert 'answer = lmpipe.Predict("question -> answer")' in new.read_text()
    assert file.read_text() == SOURCE
    first, second = result.output.splitlines()
    assert first == f"{file} → {new}: 2 places rewritten, 1 left to do by hand"
    assert second.startswith("  line 4: demonstrations are part of a state")


def test_out_names_the_new_file_and_may_be_the_old_one(file: Path) -> None:
    assert run(file, "--out", file, "--no-run").exit_code == 0
    assert file.read_text().startswith("import lmpipe\n")


def test_a_file_that_exists_is_not_replaced_by_default(file: Path) -> None:
    new = file.with_name("program_lmpipe.py")
    new.write_text("mine = 1\n")
    result = run(file, "--no-run")
    assert result.exit_code == 2
    assert "exists: delete it, or name another file with --out" in result.output
    assert new.read_text() == "mine = 1\n"


def test_a_file_that_cannot_be_read_as_python_leaves_the_target_as_it_is(
    file: Path, tmp_path: Path
) -> None:
    file.write_text(SOURCE + "x = (\n")
    target = tmp_path / "new.py"
    target.write_text("mine = 1\n")
    result = run(file, "--out", target, "--no-run")
    assert result.exit_code == 2
    assert "program.py:" in result.output
    assert target.read_text() == "mine = 1\n"


def test_check_compares_and_writes_nothing(file: Path) -> None:
    file.write_text(SOURCE.replace("answer.demos = []\n", ""))
    result = run(file, "--check")
    assert result.exit_code == 0, result.output
    assert "asks for the same as before: answer (1 predictor)" in result.output
    assert [path.name for path in file.parent.glob("*.py")] == ["program.py"]


def test_it_fails_if_the_migrated_file_does_not_run(file: Path) -> None:
    file.write_text(SOURCE + "import no_such_module\n")
    result = run(file)
    assert result.exit_code == 1
    assert "differs: the migrated file does not run: ModuleNotFoundError" in result.output
    assert file.with_name("program_lmpipe.py").exists()


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    result = run(tmp_path / "none.py")
    assert result.exit_code == 2
    assert "cannot be read as Python source" in result.output


def test_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libcst", None)
    monkeypatch.delitem(sys.modules, "lmpipe.integrations.migrate.migration", raising=False)
    result = run(file, "--no-run")
    assert result.exit_code == 2
    assert "pip install 'lmpipe[migrate]'" in result.output
    assert not file.with_name("program_lmpipe.py").exists()


def test_a_file_that_is_replaced_is_compared_as_it_was(file: Path) -> None:
    file.write_text(SOURCE.replace("answer.demos = []\n", ""))
    result = run(file, "--out", file)
    assert result.exit_code == 0, result.output
    assert "asks for the same as before: answer (1 predictor)" in result.output
    assert file.read_text().startswith("import lmpipe\n")
