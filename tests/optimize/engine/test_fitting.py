"""Questions that fit: fewer cases first, then the middle of the longest values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from helpers.tasks import make_task

import lmpipe
from lmpipe.lm.concurrency import loop
from lmpipe.lm.request import Request
from lmpipe.optimize.engine.fitting import Case, Cases, fit_question


def of_length(limit: int) -> Callable[[Mapping[str, Any]], bool]:
    return lambda question: sum(map(len, question.values())) <= limit


def runs(*feedback: str) -> Cases:
    return Cases(tuple(Case((("feedback: ", text),)) for text in feedback))


def test_what_fits_is_whole() -> None:
    question = {"step": "s", "cases": runs("x" * 500, "y")}
    assert (
        fit_question(question, of_length(1000))["cases"] == f"feedback: {'x' * 500}\n\nfeedback: y"
    )


def test_the_last_cases_are_left_out_first_and_that_is_said() -> None:
    fitted = fit_question({"cases": runs("a" * 100, "b" * 100, "c" * 100)}, of_length(300))
    assert "a" * 100 in fitted["cases"]
    assert "b" * 100 in fitted["cases"]
    assert fitted["cases"].endswith("(1 more case left out: there is no room)")


def test_then_the_longest_value_is_cut_in_its_middle_and_the_others_are_whole() -> None:
    long = "start " + "x" * 1000 + " end"
    fitted = fit_question({"step": "short text", "cases": runs(long)}, of_length(400))
    assert fitted["step"] == "short text"
    assert "feedback: start x" in fitted["cases"]
    assert "characters left out)" in fitted["cases"]
    assert fitted["cases"].endswith("x end")


def test_as_much_is_shown_as_fits() -> None:
    fitted = fit_question({"cases": runs("x" * 1000)}, of_length(400))
    assert 390 <= len(fitted["cases"]) <= 400


def test_no_cases_are_said_to_be_none() -> None:
    assert fit_question({"cases": Cases(())}, of_length(10)) == {"cases": "none"}


def test_a_question_that_cannot_fit_is_asked_in_its_shortest_form() -> None:
    fitted = fit_question({"cases": runs("x" * 1000, "y")}, of_length(5))
    assert "(1 more case left out" in fitted["cases"]
    assert len(fitted["cases"]) < 250


class Improve(lmpipe.Signature):
    """Improve it."""

    cases: str = lmpipe.Input()
    better: str = lmpipe.Output()


@pytest.mark.parametrize(("context", "whole"), [(8000, True), (2000, False)])
def test_a_proposer_is_shown_what_its_context_holds(context: int, whole: bool) -> None:
    asked: list[str] = []

    def propose(request: Request) -> str:
        asked.append(request.messages[-1].text)
        return '{"better": "yes"}'

    proposer = lmpipe.ScriptedLM(propose, context=context, max_tokens=500)
    task = make_task(proposer=proposer)
    loop.run_sync(task.ask(Improve, cases=runs("word " * 2000)))
    assert ("word " * 2000 in asked[0]) == whole
    assert ("characters left out" in asked[0]) != whole


def test_a_budget_of_tokens_leaves_out_what_it_has_not_reserved() -> None:
    asked: list[str] = []

    def propose(request: Request) -> str:
        asked.append(request.messages[-1].text)
        return '{"better": "yes"}'

    proposer = lmpipe.ScriptedLM(propose, max_tokens=500)
    task = make_task(proposer=proposer, budget=lmpipe.Budget(tokens=50_000))
    loop.run_sync(task.ask(Improve, cases=runs("word " * 20_000)))
    assert "characters left out" in asked[0]
