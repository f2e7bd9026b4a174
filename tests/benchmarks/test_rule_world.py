"""The benchmark of the rule world: what its student and its proposer do, and that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from rules.world import World

    return World


def test_the_student_is_right_if_its_instruction_states_the_rules_of_the_case(world: Any) -> None:
    made = world()
    row, needed = made.rows("train")[0], sorted(made.needed[0])
    texts = [made.texts[number] for number in needed]
    assert made.answer("\n".join(texts), row["case"]) == row["answer"]
    assert made.answer(texts[0], row["case"]) != row["answer"]


@pytest.mark.parametrize("length", [100, 700, 3000])
def test_feedback_names_the_missing_rules_at_its_end(world: Any, length: int) -> None:
    made = world(feedback=length)
    row, needed = made.rows("train")[0], sorted(made.needed[0])
    known = made.texts[needed[0]]
    score, feedback = made.judge(row, made.answer(known, row["case"]))
    assert score == 0
    assert len(feedback) >= length
    assert feedback.endswith(made.texts[needed[1]])
    assert known not in feedback


def test_the_proposer_adds_two_rules_of_those_that_it_was_told(world: Any) -> None:
    made = world()
    told = " ".join(f"not followed: {text}" for text in made.texts[:5])
    improved = made.improve(made.texts[0], told, "draw")
    assert made.stated(improved) > {0}
    assert len(made.stated(improved)) == 3
    assert made.stated(improved) < set(range(5))


def test_a_rule_that_was_cut_is_not_learned(world: Any) -> None:
    made = world()
    assert made.improve("", f"not followed: {made.texts[0][:-2]}", "draw") == ""


@pytest.mark.parametrize("start", ["wrong", "contradictory"])
def test_a_defective_instruction_cannot_be_right_with_all_rules(world: Any, start: str) -> None:
    made = world(start=start)
    assert made.true_score("\n".join(made.texts)) == 1
    assert made.true_score("\n".join([made.declared, *made.texts])) < 1


def test_noise_flips_answers_by_the_prompt(world: Any) -> None:
    made = world(noise=0.2)
    every = "\n".join(made.texts)
    answers = [made.answer(every, row["case"]) == row["answer"] for row in made.rows("test")]
    assert answers == [
        made.answer(every, row["case"]) == row["answer"] for row in made.rows("test")
    ]
    assert 0.7 < sum(answers) / len(answers) < 0.9


def test_all_rules_are_needed_in_training(world: Any) -> None:
    made = world(rules=40, rule_length=130)
    assert set().union(*made.needed[:60]) == set(range(40))
    assert sum(map(len, made.texts)) > 5000


def test_a_search_learns_the_rules(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LMPIPE_HOME": str(tmp_path),
        "PYTHONPATH": f"{BENCHMARKS.parent / 'compiler'}{os.pathsep}{BENCHMARKS}",
    }
    command = [sys.executable, "-m", "rules.lmpipe_side", "gepa", "--calls=400", "--seeds", "0"]
    world = ["--world", json.dumps({"rules": 8, "feedback": 700})]
    done = subprocess.run(
        [*command, *world], check=True, capture_output=True, text=True, env=environment
    )
    (result,) = json.loads(done.stdout.splitlines()[-1])
    assert result["final"] == 1.0
    assert result["calls"] <= 400
