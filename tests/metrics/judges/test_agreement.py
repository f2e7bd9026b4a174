"""The agreement of a judge with people."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe import evaluate
from lmpipe.errors import MetricError
from lmpipe.foundation.statistics import Interval
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import Agreement, agreement
from lmpipe.settings import using

ORDER = ("bad", "fair", "good")


class Grade(lmpipe.Signature):
    """Grade the reply."""

    reply: str = lmpipe.Input()
    verdict: Literal["bad", "fair", "good"] = lmpipe.Output()


def labelled(verdict: str, **more: Any) -> lmpipe.Example:
    return lmpipe.Example(reply=f"a {verdict} one", verdict=verdict, **more).with_inputs("reply")


def pairs(*counted: tuple[str, str, int]) -> list[tuple[str, str]]:
    return [(one, other) for one, other, count in counted for _ in range(count)]


def test_the_same_verdict_scores_1() -> None:
    score = agreement()(labelled("good"), {"verdict": "good"})
    assert (score.value, score.feedback) == (1, "verdict: people say 'good' as well")


def test_another_verdict_scores_0_and_the_reason_of_people_is_feedback() -> None:
    score = agreement(reason="why")(labelled("bad", why="It is rude."), {"verdict": "good"})
    assert score.value == 0
    assert score.feedback == "verdict: people say 'bad', not 'good', because: It is rude."


@pytest.mark.parametrize(("verdict", "value"), [("bad", 0), ("fair", 0.5), ("good", 1)])
def test_a_near_verdict_counts_in_part(verdict: str, value: float) -> None:
    assert agreement(order=ORDER)(labelled("good"), {"verdict": verdict}).value == value


def test_a_verdict_that_is_not_in_the_order_is_named() -> None:
    with pytest.raises(MetricError, match="'great' is not in the order"):
        agreement(order=ORDER)(labelled("good"), {"verdict": "great"})


@pytest.mark.parametrize("order", [["bad"], ["bad", "bad"]])
def test_an_order_has_two_or_more_verdicts_once_each(order: list[str]) -> None:
    with pytest.raises(MetricError, match="two or more verdicts"):
        agreement(order=order)


def test_kappa_and_its_interval_are_those_of_statsmodels() -> None:
    # statsmodels 0.15: cohens_kappa([[20, 5], [10, 15]])
    found = Agreement.of_pairs(
        pairs(("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15))
    )
    assert (found.count, found.accuracy) == (50, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.kappa_interval.low == pytest.approx(0.1510923, abs=1e-6)
    assert found.kappa_interval.high == pytest.approx(0.6489077, abs=1e-6)
    assert found.table["no", "yes"] == 10


def test_kappa_of_three_verdicts_is_that_of_statsmodels() -> None:
    # statsmodels 0.15: cohens_kappa([[30, 4, 1], [6, 12, 5], [2, 3, 37]])
    table = [[30, 4, 1], [6, 12, 5], [2, 3, 37]]
    found = Agreement.of_pairs(
        pairs(*[(str(i), str(j), n) for i, row in enumerate(table) for j, n in enumerate(row)])
    )
    assert found.kappa == pytest.approx(0.6732535, abs=1e-6)
    assert found.kappa_interval.low == pytest.approx(0.5530308, abs=1e-6)
    assert found.kappa_interval.high == pytest.approx(0.7934761, abs=1e-6)


def test_complete_agreement_of_few_rows_is_not_certain() -> None:
    found = Agreement.of_pairs(pairs(("a", "a", 5), ("b", "b", 5)))
    assert (found.kappa, found.kappa_interval.high) == (1, 1)
    assert found.kappa_interval.low < 0.6


def test_of_one_verdict_nothing_is_known() -> None:
    found = Agreement.of_pairs(pairs(("a", "a", 5)))
    assert (found.accuracy, found.kappa, found.kappa_interval) == (1, 0, Interval(-1, 1))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_every_interval_has_its_figure(verdicts: list[tuple[str, str]]) -> None:
    found = Agreement.of_pairs(verdicts)
    assert found.accuracy in found.accuracy_interval
    assert found.kappa_interval.low - 1e-9 <= found.kappa <= found.kappa_interval.high + 1e-9


def test_the_rows_of_an_evaluation_agree_and_a_failed_one_does_not() -> None:
    def script(request: Any) -> str:
        shown = " ".join(message.text for message in request.messages)
        return "?" if "a fair one" in shown else "[[verdict]]\ngood"

    data = [labelled("good"), labelled("bad"), labelled("fair")]
    with using(lm=lmpipe.ScriptedLM(script), runtime=Runtime()):
        result = evaluate(lmpipe.Predict(Grade), data, agreement())
    found = Agreement.of(result.rows)
    assert found.table == {("good", "good"): 1, ("bad", "good"): 1, ("fair", "(none)"): 1}
    assert str(found).startswith("accuracy 0.333 [")


class Accept(lmpipe.Signature):
    """Accept the reply or not."""

    reply: str = lmpipe.Input()
    verdict: bool = lmpipe.Output()


def test_labels_of_a_text_file_have_the_types_of_the_verdicts() -> None:
    data = [labelled("true"), labelled("false"), labelled("true")]

    def script(request: Any) -> str:
        shown = " ".join(message.text for message in request.messages)
        return "?" if "a false one" in shown else "[[verdict]]\nyes"

    with using(lm=lmpipe.ScriptedLM(script), runtime=Runtime()):
        result = evaluate(lmpipe.Predict(Accept), data, agreement())
    assert Agreement.of(result.rows).table == {(True, True): 2, (False, "(none)"): 1}


def test_no_rows_have_no_agreement() -> None:
    with pytest.raises(MetricError, match="no rows"):
        Agreement.of_pairs([])


def test_an_example_without_a_verdict_of_people_is_named() -> None:
    with pytest.raises(MetricError, match="verdict"):
        agreement()(lmpipe.Example(reply="x").with_inputs("reply"), {"verdict": "good"})
