"""Word problems have the answers that their texts tell."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.generators.word_problems import SIZES, STEPS, files, read_problem, write_problem
from programs.json_lines import DATA, as_lines

FILES = files()
LINE = re.compile(r"(\d+) ([-+*/]) (\d+)(?: / (\d+))? = (\d+)\.")


def problem(seed: int, steps: int) -> dict[str, Any]:
    return write_problem(random.Random(seed), steps)


SEEDS, COUNTS = st.integers(0, 2**32), st.sampled_from(STEPS)


@given(SEEDS, COUNTS)
def test_the_answer_follows_from_the_text_alone(seed: int, steps: int) -> None:
    row = problem(seed, steps)
    assert read_problem(row["question"]) == row["answer"]


@given(SEEDS, COUNTS)
def test_the_reasoning_calculates_the_answer_in_as_many_steps(seed: int, steps: int) -> None:
    row = problem(seed, steps)
    lines = LINE.findall(row["reasoning"])
    assert len(lines) == row["steps"] == steps
    for one, sign, other, divisor, result in lines:
        a, b, c = int(one), int(other), int(divisor or 1)
        exact = {"+": a + b, "-": a - b, "*": a * b / c, "/": a / b}[sign]
        assert exact == int(result)
    assert int(lines[-1][-1]) == row["answer"]


@given(SEEDS, COUNTS)
def test_every_number_of_the_reasoning_is_given_or_was_calculated(seed: int, steps: int) -> None:
    row = problem(seed, steps)
    known = {*re.findall(r"\d+", row["question"]), "100", ""}
    for *numbers, result in LINE.findall(row["reasoning"]):
        assert {number for number in numbers if number not in "+-*/"} <= known
        known.add(result)


def test_an_unknown_sentence_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'It rains\.' can be read in 0 ways"):
        read_problem("A school has 3 girls and 4 boys. It rains. How many is that?")


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_files_are_those_that_the_generator_writes(name: str) -> None:
    assert (DATA / name).read_text(encoding="utf-8") == as_lines(FILES[name])


def test_no_problem_is_in_two_splits() -> None:
    texts = [row["question"] for rows in FILES.values() for row in rows]
    assert len(set(texts)) == len(texts) == sum(SIZES.values())


def test_a_problem_in_another_split_has_other_numbers() -> None:
    owner: dict[str, str] = {}
    for name in FILES:
        for line in (DATA / name).read_text(encoding="utf-8").splitlines():
            assert owner.setdefault(json.loads(line)["reasoning"], name) == name
