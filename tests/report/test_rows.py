"""The rows that a page packs for its script."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.one_compile import WORLD
from helpers.world import recipe

import lmpipe
from lmpipe.report.page import write_report
from lmpipe.report.rows import RowBrowser, make_rows
from lmpipe.report.run_files import read_run


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    return WORLD.copy(tmp_path, tmp_path_factory)


def unpack(packed: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def packed(folder: Path) -> RowBrowser:
    found = make_rows(read_run(folder))
    assert found is not None
    return found


def test_every_test_row_is_listed_with_both_scores(run: lmpipe.Run) -> None:
    assert run.test is not None
    found = packed(run.path)
    before = run.test.evaluations[run.test.baseline].values
    after = run.test.evaluations["compiled"].values
    lines = unpack(found.index)
    assert [line[0] for line in lines] == [list(pair) for pair in zip(before, after, strict=True)]
    assert found.title == f"{len(after)} test rows, one by one"
    assert list(found.kinds) == ["all", "worse", "better", "wrong", "failed"]


def test_an_opened_row_has_inputs_labels_answers_and_calls_with_their_replies(
    run: lmpipe.Run,
) -> None:
    assert run.test is not None
    row = run.test.evaluations["compiled"].rows[0]
    detail = unpack(packed(run.path).blocks[0])[0]
    assert detail["inputs"] == [["thing", row.example["thing"]]]
    assert detail["gold"] == [["colour", row.example["colour"]]]
    after = detail["sides"][-1]
    assert after["outputs"] == [["colour", row.prediction.colour]]
    (call,) = after["calls"]
    assert call["reply"] == row.replies[0]
    assert call["about"].startswith("self · scripted/scripted · ")


def test_texts_are_packed_in_blocks_of_the_stated_size(run: lmpipe.Run) -> None:
    lines = (run.path / "scores.jsonl").read_text().splitlines()
    many = [line for line in lines if '"test ' in line] * 3
    (run.path / "scores.jsonl").write_text("\n".join(many) + "\n")
    found = packed(run.path)
    sizes = [len(unpack(block)) for block in found.blocks]
    assert sizes == [found.size, found.size, 120 - 2 * found.size]


def test_replies_that_belong_to_no_known_call_are_listed_too(run: lmpipe.Run) -> None:
    (run.path / "calls.jsonl").write_text("")
    detail = unpack(packed(run.path).blocks[0])[0]
    (call,) = detail["sides"][-1]["calls"]
    assert (call["about"], bool(call["reply"])) == ("reply", True)


def test_without_a_test_the_rows_are_those_of_the_validation(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(test=None), runs=tmp_path)
    found = packed(run.path)
    assert found.title.endswith("validation rows, one by one")
    assert list(found.kinds) == ["all", "wrong", "failed"]
    assert [line[0] for line in unpack(found.index)] == [[v] for v in run.best.evaluation.values]


def test_the_same_run_makes_the_same_page(run: lmpipe.Run) -> None:
    assert write_report(run.path).read_bytes() == write_report(run.path).read_bytes()


def test_a_result_that_is_a_baseline_has_the_calls_of_the_baseline(tmp_path: Path) -> None:
    flat = lmpipe.ScriptedLM(lambda request: "[[colour]]\nblue")
    run = lmpipe.compile(recipe(student=flat), runs=tmp_path)
    assert run.test is not None
    assert run.state.hash == run.candidates[0].state.hash
    (call,) = unpack(packed(run.path).blocks[0])[0]["sides"][-1]["calls"]
    assert call["about"].startswith("self · ")
