"""A run that uses a predictor more often than counted is told, once."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import lmpipe
from lmpipe.metrics import exact_match


class Loop(lmpipe.Module):
    def __init__(self) -> None:
        self.step = lmpipe.Predict("q -> a", retries=1)

    def forward(self, q: str) -> Any:
        for word in q.split():
            last = self.step(q=word)
        return last


class Declared(Loop):
    max_calls = 20


ROWS = [lmpipe.Example(q="one two three", a="yes").with_inputs("q") for _ in range(3)]
LM = lmpipe.ScriptedLM(lambda request: "## a\nyes")


def test_evaluate_warns_once_of_a_predictor_in_a_loop_and_names_the_bound() -> None:
    message = r"Loop used step 3 times.*count 1.*`max_calls = …`.*may need 6"
    with pytest.warns(UserWarning, match=message) as told:
        evaluation = lmpipe.evaluate(Loop(), ROWS, exact_match("a"), lm=LM)
    assert len(told) == 1
    assert evaluation.score == 1.0


def test_a_program_that_declares_its_maximum_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lmpipe.evaluate(Declared(), ROWS, exact_match("a"), lm=LM)
