"""How spend is printed: a known price, a price of zero and an unknown price differ."""

from __future__ import annotations

import io

import pytest
from helpers.fake_server import FakeServer
from helpers.world import recipe, student, things
from rich.console import Console

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.evaluation.results import Evaluation, Failure, Row
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.prices import Price
from lmpipe.lm.request import Reply
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.spend import Account, Spend
from lmpipe.metrics import Score, exact_match, judge
from lmpipe.report.records import Test
from lmpipe.report.terminal import plan_json, print_account, print_evaluation, print_plan
from lmpipe.report.text import NOTHING, spend_line, verdict_line
from lmpipe.state.trace import FailedCheck, Step, Trace
from lmpipe.state.usage import Usage


def call(role: str, label: str, lm: str, price: Price | None) -> Call:
    return Call("k", label, role, lm, price, Reply("", usage=Usage(10**6, 0)))


def printed(account: Account) -> list[list[str]]:
    file = io.StringIO()
    print_account(Console(file=file, width=200), account)
    return [line.split() for line in file.getvalue().splitlines()]


def test_the_table_has_a_line_for_each_role_predictor_and_lm() -> None:
    account = Account(
        [
            call("task", "find", "openai/small", Price(1.0, 1.0)),
            call("task", "answer", "openai/small", Price(1.0, 1.0)),
            call("judge", "Grade", "openai/large", Price(5.0, 1.0)),
        ]
    )
    lines = printed(account)
    for line in (
        ["role", "task", "2", "2", "2,000,000", "0", "$2.00"],
        ["judge", "1", "1", "1,000,000", "0", "$5.00"],
        ["predictor", "answer", "1", "1", "1,000,000", "0", "$1.00"],
        ["LM", "openai/large", "1", "1", "1,000,000", "0", "$5.00"],
        ["all", "3", "3", "3,000,000", "0", "$7.00"],
    ):
        assert line in lines


def test_a_single_predictor_on_a_single_lm_needs_no_table() -> None:
    assert printed(Account([call("task", "x", "local", Price(0, 0))])) == []


def test_an_unknown_price_is_a_dash_and_makes_the_sum_unknown() -> None:
    lines = printed(
        Account(
            [call("task", "x", "vllm/m", None), call("teacher", "x", "openai/m", Price(2.0, 1.0))]
        )
    )
    assert ["LM", "openai/m", "1", "1", "1,000,000", "0", "$2.00"] in lines
    assert ["vllm/m", "1", "1", "1,000,000", "0", NOTHING] in lines
    assert ["all", "2", "2", "2,000,000", "0", NOTHING] in lines


@pytest.mark.parametrize(
    ("usd", "shown"), [(0.0, "$0.00"), (0.0123, "$0.0123"), (None, "price unknown")]
)
def test_a_spend_line_separates_free_from_unknown(usd: float | None, shown: str) -> None:
    line = spend_line(Spend(12, 3400, usd, 7, 900))
    assert line == f"12 LM calls (7 fresh), 3,400 tokens (900 fresh), {shown}"


def test_a_spend_line_shows_what_was_sent_again() -> None:
    line = spend_line(Spend(12, 3400, 0.0, 7, 900, resent=2))
    assert line.startswith("12 LM calls (7 fresh, 2 sent again), ")


def test_an_evaluation_shows_service_and_waiting_apart_and_failures_by_kind() -> None:
    example = lmpipe.Example(thing="sky").with_inputs("thing")
    made = Call("k", "x", "task", "m", None, Reply("", seconds=2.0, attempts=2), 5.0)
    failure = Failure("cut", "the reply was cut", "")
    row = Row(0, example, None, Score(0.0), failure, Trace(), (made,), 7.0)
    file = io.StringIO()
    print_evaluation(Console(file=file, width=200), Evaluation([row]), title="colours")
    lines = [" ".join(line.split()) for line in file.getvalue().splitlines()]
    assert "failures 1 cut" in lines
    assert "LM calls 1 (1 fresh, 1 sent again)" in lines
    assert "latency median 2.00 s, p95 2.00 s" in lines
    assert "waiting median 5.00 s, p95 5.00 s, for limits and retries" in lines


def test_an_evaluation_shows_the_failed_checks_of_its_programs() -> None:
    check = FailedCheck("Be short.", {"colour": "red"})
    step = Step("self", {}, {"colour": "r"}, ("r",), Usage(), 0.0, True, checks=(check,))
    example = lmpipe.Example(thing="x").with_inputs("thing")
    row = Row(0, example, None, Score(1.0), None, Trace([step]), (), 1.0)
    file = io.StringIO()
    print_evaluation(Console(file=file, width=200), Evaluation([row]), title="colours")
    lines = [" ".join(line.split()) for line in file.getvalue().splitlines()]
    assert "checks 1 failed, 1 mended, 0 unmet" in lines


def test_an_evaluation_names_the_lm_without_a_price() -> None:
    runtime = Runtime()
    with FakeServer(lambda body: "## colour\nred") as server, lmpipe.using(runtime=runtime):
        own = lmpipe.LM("vllm/own", base_url=server.base_url)
        result = lmpipe.evaluate(
            lmpipe.Predict("thing -> colour"), things(3), exact_match("colour"), lm=own
        )
        runtime.close()
    file = io.StringIO()
    print_evaluation(Console(file=file, width=200), result, title="colours")
    assert "unknown: no price given for vllm/own" in file.getvalue()
    assert result.usd is None
    assert result.summary()["usd"] is None


def test_the_plan_shows_the_judge_and_an_unknown_price() -> None:
    @judge(max_calls=2)
    async def metric(example: lmpipe.Example, prediction: object) -> bool:
        return True

    own = LM("vllm/judge", base_url="http://127.0.0.1:1/v1")
    plan = plan_json(prepare(recipe(metric=metric, judge=own, student=student(price=(1, 1)))))
    file = io.StringIO()
    print_plan(Console(file=file, width=200), plan)
    assert (
        "judge      vllm/judge@http://127.0.0.1:1/v1, at most 2 LM calls for each row"
        in file.getvalue()
    )
    assert "price unknown" in file.getvalue()


@pytest.mark.parametrize(
    ("baseline", "interval", "advice"),
    [
        ("as declared", (-0.1, 0.2), "keep the declared program, or test on more examples"),
        ("constrained", (-0.1, 0.2), "keep the better baseline (constrained), or test on more"),
        ("as declared", (-0.3, -0.1), "worse: the whole interval is below zero; keep the declared"),
    ],
)
def test_a_result_that_is_not_certainly_better_comes_with_advice(
    baseline: str, interval: tuple[float, float], advice: str
) -> None:
    scores = {"score": 0.5, "interval": (0.4, 0.6), "examples": 40}
    test = Test.model_validate(
        {
            "scores": {baseline: scores, "compiled": scores},
            "baseline": baseline,
            "difference": sum(interval) / 2,
            "interval": interval,
            "improved": False,
        }
    )
    assert advice in verdict_line(test)
