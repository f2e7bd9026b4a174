"""The migration guide: its programs are migrated as shown, run, and ask for the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.migrated_programs import run_migrated
from helpers.pages import read_page, run_examples

from lmpipe.integrations.migrate.migration import migrate
from lmpipe.integrations.migrate.proof.prove import prove_all

PAGE = read_page("migrating-from-dspy.md")
PROGRAMS = re.findall(
    r"^### (.*?)\n\nBefore:\n\n```python\n(.*?)^```\n\nAfter:\n\n```python\n(.*?)^```$",
    PAGE,
    re.M | re.S,
)
TITLES = [title for title, _, _ in PROGRAMS]


def test_there_are_three_programs() -> None:
    assert len(PROGRAMS) == 3


@pytest.mark.parametrize(("before", "after"), [item[1:] for item in PROGRAMS], ids=TITLES)
def test_the_program_after_is_what_the_command_writes(before: str, after: str) -> None:
    migration = migrate(before)
    assert migration.source == after
    assert not migration.left


@pytest.mark.parametrize("source", [after for _, _, after in PROGRAMS], ids=TITLES)
def test_the_program_after_runs(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = run_migrated(source, tmp_path, monkeypatch)
    assert lm.requests


def test_the_programs_ask_for_the_same_before_and_after(tmp_path: Path) -> None:
    pairs = []
    for number, (_, before, after) in enumerate(PROGRAMS):
        file = tmp_path / str(number) / "program.py"
        file.parent.mkdir()
        file.write_text(before)
        pairs.append((file, after))
    proofs = prove_all(pairs)
    assert [list(proof.problems) for proof in proofs] == [[], [], []]
    assert [dict(proof.compared) for proof in proofs] == [
        {"classify": 1},
        {"MultiHop()": 3},
        {"Desk()": 2},
    ]


def test_the_examples_about_differences_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGE.partition("## Three programs")[0]
    source = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S))
    run_examples(source, tmp_path)
    assert "missing 'question'; unknown 'query'" in capsys.readouterr().out
