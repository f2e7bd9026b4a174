"""The scores of a run: on train, corrected, and what racing saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.one_compile import WORLD
from helpers.world import TwoSteps, answer, recipe, student

import lmpipe
from lmpipe.compiling.final_test import is_shown
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import ArtifactError, StorageError
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.budget import Budget
from lmpipe.report.page import write_report


def lines(run: lmpipe.Run, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run.path / name).read_text().splitlines()]


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    return WORLD.copy(tmp_path, tmp_path_factory)


def test_the_winner_is_scored_on_training_examples(run: lmpipe.Run) -> None:
    assert run.train is not None
    rows = [line for line in lines(run, "scores.jsonl") if line["subject"] == "train"]
    assert len(rows) == len(run.train.rows) == 32
    assert run.scores["train"] == run.train.score
    assert {call.role for row in run.train.rows for call in row.calls} == {"task"}


@pytest.mark.parametrize("program", [None, TwoSteps()])
def test_examples_in_the_winners_demonstrations_are_left_out(
    tmp_path: Path, program: lmpipe.Module | None
) -> None:
    made = recipe(train_check=40, **({"program": program} if program else {}))
    run = lmpipe.compile(made, runs=tmp_path)
    shown = {e for e in prepare(made).train if is_shown(e, run.state)}
    assert run.train is not None
    assert shown
    assert {row.example for row in run.train.rows} == set(prepare(made).train) - shown


def test_the_train_score_can_be_turned_off(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(train_check=0), runs=tmp_path)
    assert run.train is None
    assert "train" not in run.scores


def test_a_small_budget_skips_the_train_score_with_a_note(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(budget=Budget(calls=120)), runs=tmp_path)
    assert run.train is None
    assert "too small to score the result on training examples" in run.stopped


def test_the_validation_score_is_corrected_downwards(run: lmpipe.Run) -> None:
    assert run.validation_estimate is not None
    assert 0.5 < run.validation_estimate <= run.best.score


def test_racing_counts_the_runs_that_it_saved(run: lmpipe.Run) -> None:
    met = sum(len(candidate.evaluation.rows) for candidate in run.candidates)
    assert run.racing.runs > 0
    assert run.racing.runs == run.racing.of - met


def test_the_racing_rules_reach_the_search(tmp_path: Path) -> None:
    saved = {
        risk: lmpipe.compile(recipe(racing=lmpipe.Racing(risk=risk)), runs=tmp_path).racing.runs
        for risk in (0.001, 0.4)
    }
    assert saved[0.001] < saved[0.4]


def test_without_racing_nothing_is_saved(tmp_path: Path) -> None:
    assert lmpipe.compile(recipe(racing=None), runs=tmp_path).racing.runs == 0


def test_the_run_folder_has_the_examples_of_each_candidate(run: lmpipe.Run) -> None:
    found = [(line["complete"], line["examples"]) for line in lines(run, "candidates.jsonl")]
    assert found == [(c.complete, len(c.evaluation.rows)) for c in run.candidates]
    assert {complete for complete, _ in found} == {True, False}


def memorized(request: Request) -> str:
    """Correct only on training and validation things, which have low numbers."""
    question = request.messages[-1].content
    number = int(question.split("number ")[1].split()[0])
    return answer(request) if number < 200 else "## colour\nnone"


def test_an_overfitted_result_has_a_warning_everywhere(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(student=lmpipe.ScriptedLM(memorized)), runs=tmp_path)
    assert run.overfitting is not None
    sentence = run.overfitting.sentence
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["overfitting"]["sentence"] == sentence
    assert [e["message"] for e in lines(run, "events.jsonl") if e["event"] == "overfitting"] == [
        sentence
    ]
    assert sentence[1:] in write_report(run.path).read_text()


def test_a_result_that_generalizes_has_no_warning(run: lmpipe.Run) -> None:
    assert run.overfitting is None
    assert run.to_json()["overfitting"] is None


def test_the_train_score_counts_in_the_budget(tmp_path: Path) -> None:
    lm = student()
    run = lmpipe.compile(recipe(student=lm, budget=Budget(calls=400)), runs=tmp_path)
    assert len(lm.requests) <= run.account.total.calls <= 400


def test_a_recipe_with_a_long_name_has_a_folder(tmp_path: Path) -> None:
    made = lmpipe.compile(recipe(name="long name " * 30), runs=tmp_path)
    assert made.path.name.split("-")[2:4] == ["long", "name"]
    assert len(made.path.name) < 120
    manifest = json.loads((made.path / "manifest.json").read_text())
    assert manifest["program"]["name"] == "long name " * 30


def test_two_long_names_with_the_same_beginning_have_different_folders(tmp_path: Path) -> None:
    paths = {
        lmpipe.compile(recipe(name="x" * 300 + end, seed=seed), runs=tmp_path).path
        for seed, end in enumerate("ab")
    }
    assert len(paths) == 2


def test_a_lock_that_is_a_symbolic_link_does_not_empty_its_target(tmp_path: Path) -> None:
    path = lmpipe.compile(recipe(), runs=tmp_path).path
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"done"', '"failed"'))
    target = tmp_path / "precious"
    target.write_text("precious")
    (path / ".lock").unlink()
    (path / ".lock").symlink_to(target)
    with pytest.raises(StorageError, match="symbolic link, which is not followed: remove it"):
        lmpipe.compile(recipe(), runs=tmp_path)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("name", ["scores.jsonl", "weights", "manifest.json"])
def test_links_in_an_unfinished_run_folder_are_not_written_through(
    tmp_path: Path, name: str
) -> None:
    path = lmpipe.compile(recipe(), runs=tmp_path).path
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"done"', '"failed"'))
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").write_text(manifest.read_text())
    (path / name).unlink(missing_ok=True)
    (path / name).symlink_to(target if name == "weights" else target / "file")
    before = (target / "file").read_text()
    assert lmpipe.compile(recipe(), runs=tmp_path).path == path
    assert not (path / name).is_symlink()
    assert [item.name for item in target.iterdir()] == ["file"]
    assert (target / "file").read_text() == before


def test_a_link_to_a_run_folder_elsewhere_is_not_resumed(tmp_path: Path) -> None:
    elsewhere = lmpipe.compile(recipe(), runs=tmp_path / "elsewhere").path
    manifest = elsewhere / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"done"', '"failed"'))
    (tmp_path / "runs").mkdir()
    link = tmp_path / "runs" / elsewhere.name
    link.symlink_to(elsewhere)
    assert lmpipe.compile(recipe(), runs=tmp_path / "runs").path != link
    assert '"failed"' in manifest.read_text()


@pytest.mark.parametrize(
    "program",
    [5, {"signatures": []}, {"instructions": {"": 5}}, {"instructions": 1}, {"folder": 1}],
)
def test_a_manifest_that_describes_no_program_is_refused(run: lmpipe.Run, program: object) -> None:
    file = run.path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "program": program}))
    with pytest.raises(ArtifactError, match="does not describe a program"):
        lmpipe.load(run.path, recipe().program)


def test_a_finished_run_folder_keeps_no_reserve(run: lmpipe.Run) -> None:
    assert {item.name for item in run.path.iterdir() if item.name.startswith(".")} == {".lock"}


def test_a_run_prints_as_one_line_with_its_scores(run: lmpipe.Run) -> None:
    shown = repr(run)
    assert "\n" not in shown
    assert len(shown) < 300
    for word in (str(run.path), run.best.name, f"test {run.scores['compiled']:.1%}", "LM calls"):
        assert word in shown
