"""`benchmarks/training_rows.py` with a scripted student: its teachers, results and tables."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.trainer import ScriptedTrainer

import lmpipe
from lmpipe.lm.request import Reply, Request


def _benchmark() -> ModuleType:
    file = Path(__file__).resolve().parents[2] / "benchmarks" / "training_rows.py"
    spec = spec_from_file_location("training_rows", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


training_rows: Any = _benchmark()
Bench = training_rows.Bench
compare_rules, compare_teachers = training_rows.compare_rules, training_rows.compare_teachers
labels_as_teacher = training_rows.labels_as_teacher

TRAIN, TEST = training_rows.examples("train")[:12], training_rows.examples("test")[:6]


class Student(lmpipe.ScriptedLM):
    """Replies with the labels if it has an adapter or demonstrations, otherwise wrong."""

    async def complete(self, request: Request, **options: object) -> Reply:
        taught = request.lm.adapter or len(request.messages) > 2
        return await (LABELS if taught else WRONG).complete(request)


LABELS = labels_as_teacher([*TRAIN, *TEST])
TEAMS = {"billing": "shipping"}
WRONG = labels_as_teacher(
    [
        row.copy(team=TEAMS.get(row["team"], "billing"), order="?", product="?", amount=0.5)
        for row in [*TRAIN, *TEST]
    ]
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    parts = {"student": Student(name="student"), "servers": [], "trainer": ScriptedTrainer()}
    return Bench(tmp_path, TRAIN, TEST, training_rows.served.replace(**parts))


def test_the_labels_as_a_teacher_are_always_right() -> None:
    metric = training_rows.served.metric
    found = lmpipe.evaluate(training_rows.Tickets(), [*TRAIN, *TEST], metric, lm=LABELS)
    assert found.score == 1.0


def test_the_table_of_rules_has_each_rule_with_its_gain_over_random_rows(bench: Bench) -> None:
    options = training_rows.parse(["select", "--rows", "4", "--seeds", "0", "1"])
    lines = compare_rules(bench, options)
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [cells[:3] for cells in shown[2:]] == [
        ["0", "", "0.0"],
        ["4 + 4", "random", "100.0"],
        ["4 + 4", "need", "100.0"],
        ["4 + 4", "diverse", "100.0"],
        ["4 + 4", "preferred", "100.0"],
        ["12 + 12", "all", "100.0"],
    ]
    assert [cells[4] for cells in shown[3:]] == ["", *["+0.0 (+0.0 to +0.0)"] * 3, ""]


def test_a_finished_compile_is_not_repeated(bench: Bench) -> None:
    optimizer = lmpipe.LabeledFewShot(demos=2)
    first = bench.scored(optimizer, None, 0)
    assert bench.scored(optimizer, None, 0) == first
    assert len(list((bench.folder / "runs").iterdir())) == 1


def test_the_table_of_teachers_has_the_gain_over_the_student_itself(bench: Bench) -> None:
    options = training_rows.parse(["teacher", "--teacher", "big", "--name", "a bigger LM"])
    lines = compare_teachers(bench, options, LABELS)
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [cells[:2] for cells in shown[2:]] == [
        ["zero-shot, constrained", ""],
        ["demonstrations", "itself"],
        ["demonstrations", "a bigger LM"],
        ["adapter", "itself"],
        ["adapter", "a bigger LM"],
    ]
