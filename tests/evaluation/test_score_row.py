"""Metrics that call an LM: which LM, whose spend, and the maximum number of calls."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.world import recipe, student, things

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import (
    ConfigError,
    LMRequestError,
    LMUnavailableError,
    MetricError,
    RecipeError,
    StorageError,
)
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.cassettes.layered_store import LayeredStore
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import all_of, exact_match, judge, metric_calls

ASK = lmpipe.Predict("colour -> good: bool", retries=0)


@judge(max_calls=1)
async def judged(example: lmpipe.Example, prediction: Any) -> bool:
    return bool((await ASK.acall(colour=prediction.colour)).good)


@judge(max_calls=1)
def blocking(example: lmpipe.Example, prediction: Any) -> bool:
    return bool(ASK(colour=prediction.colour).good)


def yes(request: Request) -> str:
    return "## good\ntrue"


def judge_lm(**settings: Any) -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(yes, name="judge", **settings)


PROGRAM = lmpipe.Predict("thing -> colour")


def evaluate(metric: Any, **options: Any) -> lmpipe.Evaluation:
    return lmpipe.evaluate(PROGRAM, things(6), metric, lm=student(), **options)


@pytest.mark.parametrize("metric", [judged, blocking])
def test_the_calls_of_a_judge_have_their_own_role_and_are_not_in_the_trace(metric: Any) -> None:
    result = evaluate(metric, judge=judge_lm())
    assert result.score == 1.0
    assert {role: spend.calls for role, spend in result.spend.by_role.items()} == {
        "task": 6,
        "judge": 6,
    }
    assert set(result.spend.by_lm) == {"scripted/scripted", "scripted/judge"}
    assert result.rows[0].trace.calls == 1


def test_without_a_judge_the_configured_lm_is_called_and_not_the_student() -> None:
    configured = judge_lm()
    with lmpipe.using(lm=configured):
        evaluate(judged)
    assert {request.lm.model for request in configured.requests} == {"scripted/judge"}


def test_the_lm_of_a_predictor_in_the_metric_comes_first() -> None:
    own, given = judge_lm(), judge_lm()
    ask = lmpipe.Predict("colour -> good: bool", lm=own)

    async def metric(example: lmpipe.Example, prediction: Any) -> bool:
        return bool((await ask.acall(colour=prediction.colour)).good)

    evaluate(metric, judge=given)
    assert (bool(own.requests), bool(given.requests)) == (True, False)


def test_a_metric_may_choose_its_lm_with_using() -> None:
    chosen, given = judge_lm(), judge_lm()

    async def metric(example: lmpipe.Example, prediction: Any) -> bool:
        with lmpipe.using(lm=chosen):
            return await judged(example, prediction)

    evaluate(metric, judge=given)
    assert (bool(chosen.requests), bool(given.requests)) == (True, False)


def test_a_module_can_be_a_metric() -> None:
    class Judge(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = ASK

        def forward(self, example: lmpipe.Example, prediction: Any, trace: Any) -> bool:
            return bool(self.ask(colour=prediction.colour).good)

    assert metric_calls(Judge()) == 1
    assert evaluate(Judge(), judge=judge_lm()).spend.by_role["judge"].calls == 6


def test_the_declared_calls_of_wrapped_and_combined_metrics_are_found() -> None:
    assert metric_calls(exact_match("colour")) == 0
    assert metric_calls(partial(judged)) == 1
    assert metric_calls(all_of(exact_match("colour"), judged, blocking)) == 2


def test_combined_metrics_may_be_async_and_blocking() -> None:
    result = evaluate(all_of(judged, blocking), judge=judge_lm())
    assert result.spend.by_role["judge"].calls == 12


def test_a_wrong_number_of_calls_is_refused() -> None:
    def metric(example: lmpipe.Example, prediction: Any) -> bool:
        return True

    with pytest.raises(MetricError, match=r"metric\(max_calls=-1\): max_calls must be 0 or more"):
        judge(max_calls=-1)(metric)


def test_a_blocking_metric_without_declared_calls_is_refused_with_the_remedy() -> None:
    def metric(example: lmpipe.Example, prediction: Any) -> bool:
        return blocking(example, prediction)

    with pytest.raises(ConfigError, match=r"metrics\.judge\(max_calls=1\)"):
        evaluate(metric, judge=judge_lm())


def test_outside_a_compile_a_metric_may_make_any_number_of_calls() -> None:
    async def metric(example: lmpipe.Example, prediction: Any) -> bool:
        return await judged(example, prediction) and await judged(example, prediction)

    assert evaluate(metric, judge=judge_lm()).spend.by_role["judge"].calls == 12


# Failures.


def test_an_unavailable_judge_stops_the_evaluation() -> None:
    def away(request: Request) -> str:
        raise LMUnavailableError("the judge is away")

    with pytest.raises(LMUnavailableError, match="judge is away"):
        evaluate(judged, judge=lmpipe.ScriptedLM(away))


def some(text: str | Exception) -> lmpipe.ScriptedLM:
    """A judge that fails on the colour red."""

    def script(request: Request) -> str:
        if "red" not in request.messages[-1].content:
            return "## good\ntrue"
        if isinstance(text, Exception):
            raise text
        return text

    return lmpipe.ScriptedLM(script)


@pytest.mark.parametrize("reply", ["perhaps", LMRequestError("too long", status=400)])
def test_a_judges_error_on_one_row_is_a_metric_failure(reply: Any) -> None:
    with lmpipe.using(lm=some(reply)):
        result = lmpipe.evaluate(
            lmpipe.Predict("thing -> colour"),
            things(40),
            judged,
            lm=lmpipe.ScriptedLM(
                lambda r: "## colour\n" + ("red" if "apple" in r.messages[-1].content else "blue")
            ),
        )
    apples = sum("apple" in row.thing for row in things(40))
    assert result.failures == {"metric": apples}


def test_a_judge_with_a_wrong_key_stops_the_evaluation() -> None:
    with pytest.raises(LMRequestError, match="who are you"):
        evaluate(judged, judge=some(LMRequestError("who are you", status=401)))


# Within a compile.


def test_in_a_compile_a_metric_without_declared_calls_may_not_call_an_lm(tmp_path: Path) -> None:
    async def metric(example: lmpipe.Example, prediction: Any) -> bool:
        return await judged(example, prediction)

    with pytest.raises(RecipeError, match=r"metric.* more than 0 .*metrics\.judge"):
        lmpipe.compile(recipe(metric=metric, judge=judge_lm()), runs=tmp_path)


def test_the_plan_counts_the_judge() -> None:
    program = recipe().program
    without = prepare(recipe()).plan()
    with_judge = prepare(recipe(metric=judged, judge=judge_lm())).plan()
    runs = sum(phase.runs for phase in without.phases)
    assert with_judge.total.calls == without.total.calls + runs
    assert program.calls_per_run() == with_judge.calls_per_run


@pytest.mark.parametrize("concurrency", [1, 64])
def test_a_budget_covers_program_and_judge_together(tmp_path: Path, concurrency: int) -> None:
    lm, other = student(), judge_lm()
    run = lmpipe.compile(
        recipe(student=lm, judge=other, metric=judged, budget=lmpipe.Budget(calls=500)),
        runs=tmp_path,
        concurrency=concurrency,
    )
    assert run.stopped
    assert len(lm.requests) + len(other.requests) <= 500
    assert run.account.by_role["judge"].calls > 0


def test_concurrency_does_not_change_where_a_budget_stops_a_judged_compile(
    tmp_path: Path,
) -> None:
    spent = set()
    for concurrency in (1, 7, 64):
        run = lmpipe.compile(
            recipe(judge=judge_lm(), metric=blocking, budget=lmpipe.Budget(calls=500)),
            runs=tmp_path / str(concurrency),
            concurrency=concurrency,
        )
        spent.add((len(run.candidates), run.account.total.calls, run.state.hash))
    assert len(spent) == 1


def test_a_budget_in_dollars_needs_the_judges_price() -> None:
    own = lmpipe.LM("vllm/judge", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(RecipeError, match="price of vllm/judge is unknown"):
        prepare(recipe(metric=judged, judge=own, budget=lmpipe.Budget(usd=1)))


def test_the_judge_is_part_of_the_recipe_hash() -> None:
    one = prepare(recipe(metric=judged, judge=judge_lm()))
    other = prepare(recipe(metric=judged, judge=judge_lm(temperature=1.0)))
    assert one.hash != other.hash
    assert one.identity["judge"]["model"] == "scripted/judge"


def test_an_unused_judge_is_not_part_of_the_recipe_hash() -> None:
    assert prepare(recipe(judge=judge_lm())).hash == prepare(recipe()).hash


# A recording that cannot be written: nothing that a row could be blamed for.


class Careful(lmpipe.Module):
    """Catches every error and answers something else."""

    def __init__(self) -> None:
        self.answer = lmpipe.Predict("thing -> colour")

    def forward(self, thing: str) -> object:
        try:
            return self.answer(thing=thing)
        except Exception:  # noqa: BLE001 - as users write it
            return lmpipe.Example(colour="unknown")


@pytest.mark.parametrize("program", [PROGRAM, Careful()], ids=["plain", "catches all"])
def test_a_recording_that_cannot_be_written_stops_the_evaluation_and_fails_no_row(
    tmp_path: Path, program: lmpipe.Module
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = LayeredStore(Cassette(tmp_path / "file" / "calls.jsonl", mode="rewrite"), None)
    with (
        lmpipe.using(runtime=Runtime(store=store)),
        pytest.raises(StorageError, match=r"file/calls\.jsonl cannot be written"),
    ):
        lmpipe.evaluate(program, things(6), exact_match("colour"), lm=student())
