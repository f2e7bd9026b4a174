"""How often a program with checks goes back, and what uses of `check` are refused."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from helpers.checked_search import (
    LONG,
    TOO_LONG,
    Inner,
    Outer,
    Search,
    Suggesting,
    answers,
    asked,
    asks_for_query,
    lm_says,
    say,
    stubborn,
    told,
    traced,
)

import lmpipe
from lmpipe.errors import CallError, CheckError, RecipeError
from lmpipe.lm.request import Request
from lmpipe.lm.scope import scope
from lmpipe.state.trace import CheckCounts

# --- the limit


def test_a_check_fails_after_two_more_answers_by_default() -> None:
    with lm_says(stubborn) as lm, pytest.raises(CheckError) as caught:
        Inner()(question="?")
    assert len(lm.requests) == 3
    assert caught.value.feedback == TOO_LONG
    assert caught.value.raw == say("query", f"{LONG} 2")
    assert str(caught.value).split("\n")[0] == (
        "Signature: the answer fails a check: The query is too long. (one run of Inner goes "
        "back 2 times for checks; raise it by `max_backtracks = …` on the class)"
    )


def test_the_class_sets_how_often_it_goes_back() -> None:
    class Patient(Inner):
        max_backtracks = 4

    with lm_says(stubborn) as lm, pytest.raises(CheckError):
        Patient()(question="?")
    assert len(lm.requests) == 5


def test_no_backtracks_make_a_check_an_assertion() -> None:
    class Strict(Inner):
        max_backtracks = 0

    with lm_says(answers) as lm, pytest.raises(CheckError):
        Strict()(question="?")
    assert len(lm.requests) == 1


def test_a_suggestion_goes_on_with_the_last_answer() -> None:
    with lm_says(stubborn) as lm:
        result, trace = traced(Suggesting(), question="?")
    assert result.answer == "yes"
    assert asked(lm) == ["query", "query", "query", "answer"]
    assert trace.checks == CheckCounts(failed=3, mended=0, unmet=1)


def test_suggestions_do_not_use_up_what_checks_have() -> None:
    class Mixed(Search):
        def forward(self, question: str) -> lmpipe.Prediction:
            query = self.write(question=question)
            lmpipe.suggest(len(query.query) < 3, "Shorter would be better.")
            answer = self.read(query=query.query)
            lmpipe.check(answer.answer == "no", "Say no.")
            return answer

    def script(request: Request) -> str:
        if asks_for_query(request):
            return say("query", f"{LONG} {len(told(request))}")
        return say("answer", "no" if told(request) else "yes")

    with lm_says(script):
        result, trace = traced(Mixed(), question="?")
    assert result.answer == "no"
    assert trace.checks == CheckCounts(failed=4, mended=1, unmet=1)


def test_suggest_returns_whether_the_condition_holds() -> None:
    assert lmpipe.suggest(True, "All is well.") is True
    assert lmpipe.suggest(0, "Nothing is well.") is False


# --- the maximum of calls


def test_the_calls_of_all_passes_are_counted() -> None:
    assert Search().calls_per_run() == 3 * 4
    assert Suggesting().calls_per_run() == 3 * 4
    assert lmpipe.Predict("a -> b").calls_per_run() == 2


def test_checks_and_suggestions_each_have_passes() -> None:
    class Mixed(Inner):
        def forward(self, question: str) -> lmpipe.Prediction:
            query = self.write(question=question)
            lmpipe.suggest(True, "x")
            lmpipe.check(True, "x")
            return query

    assert Mixed().calls_per_run() == 5 * 2


def test_an_inner_program_multiplies_the_calls() -> None:
    # Three passes of the outer one, each with two reads and three passes of the inner one.
    assert Outer().calls_per_run() == 3 * (2 * 2 + 3 * 2)


def test_a_declared_maximum_holds() -> None:
    class Declared(Inner):
        max_calls = 3

    assert Declared().calls_per_run() == 3


def test_a_run_with_checks_keeps_to_its_maximum() -> None:
    async def run() -> Any:
        with scope(max_calls=2):
            return await Inner().acall(question="?")

    with lm_says(stubborn), pytest.raises(RecipeError, match="more than 2 LM calls"):
        asyncio.run(run())


# --- wrong uses


def test_a_check_outside_of_a_program_is_an_assertion() -> None:
    with pytest.raises(CheckError) as caught:
        lmpipe.check(False, "It is wrong.")
    assert str(caught.value) == (
        "a check failed: It is wrong.\n  It cannot ask again, as there is no run to go back in: it "
        "is outside of a program's `forward`, or in code that the methods of the program do not "
        "name; then set `max_backtracks = 2` on the program's class"
    )


def test_a_check_before_any_answer_fails() -> None:
    class Early(Inner):
        def forward(self, question: str) -> lmpipe.Prediction:
            lmpipe.check(bool(question), "The question is empty.")
            return self.write(question=question)

    with pytest.raises(CheckError, match="before any predictor has answered in this run: The que"):
        Early()(question="")


def test_of_a_field_is_refused() -> None:
    class OfField(Inner):
        def forward(self, question: str) -> lmpipe.Prediction:
            query = self.write(question=question)
            lmpipe.check(len(query.query) < 10, TOO_LONG, of=query.query)
            return query

    with lm_says(answers), pytest.raises(CallError, match="not one of its fields, or the pred"):
        OfField()(question="?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((False, ""), "give a condition and what the LM is told"),
        (("too long", False), "give a condition and what the LM is told"),
        ((len, "x"), "not a function or a coroutine"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        lmpipe.check(*arguments)


def test_a_misspelled_setting_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="the setting of a module is `max_backtracks`"):

        class Misspelled(Inner):
            max_backtrack = 3

    assert Misspelled.max_backtracks == 2


def test_a_wrong_number_is_refused() -> None:
    class Negative(Inner):
        max_backtracks = -1

    with pytest.raises(lmpipe.errors.ConfigError, match="max_backtracks"):
        Negative()(question="?")


def test_a_check_error_survives_pickling() -> None:
    error = CheckError("no", raw="reply", feedback="why")
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.raw, copied.feedback) == ("no", "reply", "why")
