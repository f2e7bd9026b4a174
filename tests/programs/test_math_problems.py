"""The programs for math word problems learn from problems and from their own right answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.asked_outputs import reply_with

import lmpipe
from lmpipe.lm.request import Request
from programs import math_problems
from programs.generators.word_problems import read_problem

RECIPES = {name: item for name, item in vars(math_problems).items() if type(item) is lmpipe.Recipe}
SMALL = {"train_size": 12, "val_size": 6, "test_size": 6, "racing": None, "train_check": 0}
PROBLEM = re.compile(r"(?<!\w)(?!Question:)[A-Z][^\n]*?\?")


def solve(request: Request) -> str:
    """Solve the last problem of a request, if an earlier turn shows how, or an attempt has it."""
    *shown, asked = (message.text for message in request.messages[1:])
    problem, attempts = PROBLEM.search(asked), re.findall(r"answer: (\d+)", asked)
    assert problem is not None
    solved = str(read_problem(problem[0]))
    answer = solved if shown or solved in attempts else "0"
    return reply_with(request, {"reasoning": "I calculate.", "answer": answer})


def compiled(name: str, tmp_path: Path, **changes: Any) -> lmpipe.Run:
    lm = lmpipe.ScriptedLM(solve, context=8192)
    return lmpipe.compile(RECIPES[name].replace(student=lm, **SMALL, **changes), runs=tmp_path)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_compiler_improves_an_lm_that_learns_from_demonstrations(
    name: str, tmp_path: Path
) -> None:
    run = compiled(name, tmp_path)
    assert run.test is not None
    assert run.test.evaluations[run.test.baseline].score == 0
    assert run.test.evaluations["compiled"].score == 1


def test_the_second_bootstrap_starts_from_the_first_one(tmp_path: Path) -> None:
    run = compiled("cot_bootstrap_twice", tmp_path)
    events = (run.path / "events.jsonl").read_text(encoding="utf-8")
    assert events.count('"optimizer":"random-search"') == 2
