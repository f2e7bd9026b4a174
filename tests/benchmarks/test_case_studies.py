"""The case studies: each row of the committed table is what its recorded LM calls give."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(
    file.stem for file in (ROOT / "tests" / "cassettes" / "case_studies").glob("*.jsonl")
)


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, imported as the benchmark runs it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)
    import case_studies

    yield case_studies
    sys.modules.pop("case_studies", None)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_what_the_recording_gives(studies: Any, name: str) -> None:
    cassette = studies.cassette_of(name, record=False)
    found = studies.measure(studies.STUDIES[name], cassette)
    cassette.check()
    assert found == studies.read_results()[name]


def test_every_row_is_recorded(studies: Any) -> None:
    assert sorted(studies.read_results()) == NAMES


def test_the_guide_has_the_table(studies: Any) -> None:
    guide = studies.GUIDE.read_text("utf-8")
    assert studies.with_table(guide, studies.read_results().values()) == guide


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("agent-")])
def test_the_guide_to_agents_has_the_rates(studies: Any, name: str) -> None:
    *_, declared, _, _, compiled, gain, _ = studies.cells(studies.read_results()[name])
    row = f"| {name.removeprefix('agent-')} | {declared} | {compiled} | {gain.strip('*')} |"
    assert row in (ROOT / "docs" / "agents.md").read_text("utf-8")
