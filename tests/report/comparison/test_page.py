"""The page of several runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.html_page import Page, without_own_scripts
from helpers.one_compile import WORLD, OneCompile
from helpers.world import recipe

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.report.comparison.page import write_comparison

OTHER = OneCompile(lambda: recipe(optimizer=lmpipe.LabeledFewShot(demos=2), seed=3))
UNTESTED = OneCompile(lambda: recipe(optimizer=lmpipe.LabeledFewShot(demos=1), test=None))


@pytest.fixture
def runs(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[lmpipe.Run]:
    copies = [(WORLD, "a"), (OTHER, "b"), (WORLD, "c")]
    return [made.copy(tmp_path / name, tmp_path_factory) for made, name in copies]


def page_of(*folders: Path) -> Page:
    page = write_comparison(folders, folders[0].parent / "page.html")
    return Page(page.read_text(encoding="utf-8"))


def test_every_run_has_its_score_and_what_it_spent(runs: list[lmpipe.Run]) -> None:
    rows = page_of(*(run.path for run in runs)).tables["Runs"][1:]
    assert [row[0].split()[0] for row in rows] == ["A", "B", "C"]
    for row, run in zip(rows, runs, strict=True):
        assert run.test is not None
        assert row[3].startswith(f"{100 * run.test.evaluations['compiled'].score:.1f}%")
        assert row[5] == f"{run.account.total.calls:,}"


def test_differences_from_the_first_run_are_paired(runs: list[lmpipe.Run]) -> None:
    page = page_of(*(run.path for run in runs))
    rows = page.tables["Paired differences from the first run"][1:]
    tests = [run.test for run in runs]
    assert all(tests)
    first, other, _ = (test.evaluations["compiled"] for test in tests if test)
    assert rows[0][2].startswith(f"{100 * (other.score - first.score):+.1f}")
    assert rows[1][1:] == ["40", "+0.0 +0.0 to +0.0", "0", "0", "40", "the same"]


def test_there_is_one_curve_for_each_search(runs: list[lmpipe.Run]) -> None:
    page = page_of(*(run.path for run in runs))
    assert "Best validation score so far of each run against LM calls" in page.html
    for letter in "ABC":
        assert f"<title>{letter}, as declared: " in page.html


def test_settings_and_states_that_differ_are_shown(runs: list[lmpipe.Run]) -> None:
    page = page_of(runs[0].path, runs[1].path)
    settings = {row[0]: row[1:] for row in page.tables["Settings that differ"]}
    assert settings["seed"] == ["0", "3"]
    assert "Demonstrations: " in page.html
    assert "All were made in the same way." in page_of(runs[0].path, runs[2].path).html


def test_a_run_without_a_test_is_named(
    runs: list[lmpipe.Run], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    untested = UNTESTED.copy(tmp_path / "d", tmp_path_factory)
    page = page_of(runs[0].path, untested.path)
    assert "1 run not tested on untouched examples: B." in page.html
    assert page.tables["Paired differences from the first run"][1][-1] == "not comparable"


def test_other_metrics_are_not_compared(runs: list[lmpipe.Run]) -> None:
    file = runs[1].path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["metric"]["fingerprint"] = "0" * 64
    file.write_text(json.dumps(manifest))
    page = page_of(runs[0].path, runs[1].path)
    assert "scored by different metrics" in page.html
    assert "script" not in page.tags  # no rows to show


def test_scores_of_other_judges_are_not_compared(runs: list[lmpipe.Run]) -> None:
    file = runs[1].path / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "judge": manifest["student"]}))
    page = page_of(runs[0].path, runs[1].path)
    assert "scored by different judges" in page.html
    assert page.tables["Paired differences from the first run"][1][-1] == "not comparable"


def test_an_unfinished_run_can_be_among_them(runs: list[lmpipe.Run]) -> None:
    file = runs[1].path / "manifest.json"
    manifest = json.loads(file.read_text())
    kept = {
        name: value for name, value in manifest.items() if name not in ("test", "spend", "best")
    }
    file.write_text(json.dumps({**kept, "status": "running"}))
    assert "(running)" in page_of(runs[0].path, runs[1].path).tables["Runs"][2][0]


def test_the_page_needs_no_other_file(runs: list[lmpipe.Run]) -> None:
    page = page_of(*(run.path for run in runs))
    assert not {"link", "img", "iframe"} & set(page.tags)
    assert not {"src", "style"} & {name for name, _ in page.attributes}
    assert "<script" not in without_own_scripts(page.html)


def test_names_of_folders_are_shown_as_text(runs: list[lmpipe.Run], tmp_path: Path) -> None:
    hostile = tmp_path / "<script>alert(1)"
    shutil.copytree(runs[1].path, hostile)
    html = without_own_scripts(page_of(runs[0].path, hostile).html)
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_one_run_is_refused(runs: list[lmpipe.Run], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two runs or more"):
        write_comparison([runs[0].path], tmp_path / "page.html")
