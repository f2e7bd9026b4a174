"""What the engine promises: replay, budgets, the failure policy, an unchanged program."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.proposing_lm import proposing_lm
from helpers.world import TwoSteps, answer, recipe, student, things

import lmpipe
from lmpipe.compiling.notices import CompileWarning
from lmpipe.compiling.recipe import prepare
from lmpipe.compiling.run_folder import read_artifact
from lmpipe.errors import BudgetExhaustedError, LMUnavailableError, MetricError, RecipeError
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage


def program_bytes(run: lmpipe.Run) -> bytes:
    return (run.path / "program.json").read_bytes()


@pytest.mark.parametrize("program", [lmpipe.Predict("thing -> colour"), TwoSteps()])
def test_the_concurrency_does_not_change_the_result(tmp_path: Path, program: lmpipe.Module) -> None:
    results = {
        program_bytes(
            lmpipe.compile(
                recipe(program=program), runs=tmp_path / str(concurrency), concurrency=concurrency
            )
        )
        for concurrency in (1, 8, 64)
    }
    assert len(results) == 1


def test_another_seed_makes_other_candidates(tmp_path: Path) -> None:
    first, second = (lmpipe.compile(recipe(seed=seed), runs=tmp_path) for seed in (0, 1))
    assert {c.state.hash for c in first.candidates} != {c.state.hash for c in second.candidates}


def test_the_compiled_program_is_better_and_the_declared_one_unchanged(tmp_path: Path) -> None:
    program = lmpipe.Predict("thing -> colour: Literal['red', 'green', 'blue']")
    before = program.state()
    run = lmpipe.compile(recipe(program=program), runs=tmp_path)
    assert run.test is not None
    assert run.test.improved
    assert program.state() == before


def test_the_baselines_are_always_candidates(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(optimizer=lmpipe.LabeledFewShot(demos=2)), runs=tmp_path)
    assert [candidate.name for candidate in run.candidates][:2] == ["as declared", "constrained"]


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize("calls", [60, 120, 190, 250, 330])
def test_a_budget_of_calls_is_never_exceeded(tmp_path: Path, calls: int, concurrency: int) -> None:
    lm = student()
    run = lmpipe.compile(
        recipe(student=lm, budget=lmpipe.Budget(calls=calls)),
        runs=tmp_path,
        concurrency=concurrency,
    )
    assert len(lm.requests) <= calls
    assert run.stopped
    assert run.test is not None


def test_where_a_budget_ends_does_not_depend_on_concurrency(tmp_path: Path) -> None:
    runs = [
        lmpipe.compile(
            recipe(budget=lmpipe.Budget(calls=310)),
            runs=tmp_path / str(concurrency),
            concurrency=concurrency,
        )
        for concurrency in (1, 7, 64)
    ]
    assert len({program_bytes(run) for run in runs}) == 1
    assert len({len(run.candidates) for run in runs}) == 1
    assert len({sum(spend.calls for spend in run.spend.values()) for run in runs}) == 1


def test_a_budget_of_tokens_is_never_exceeded(tmp_path: Path) -> None:
    lm = student(context=200)
    budget = lmpipe.Budget(tokens=60_000)
    run = lmpipe.compile(recipe(student=lm, budget=budget), runs=tmp_path)
    assert sum(spend.tokens for spend in run.spend.values()) <= 60_000


def test_less_than_half_the_calls_still_give_a_tested_program(tmp_path: Path) -> None:
    whole = lmpipe.compile(recipe(), runs=tmp_path / "whole")
    calls = sum(spend.calls for spend in whole.spend.values()) * 2 // 5
    half = lmpipe.compile(recipe(budget=lmpipe.Budget(calls=calls)), runs=tmp_path / "half")
    assert sum(spend.calls for spend in half.spend.values()) <= calls
    assert half.best.score > half.candidates[0].score
    assert half.test is not None
    tested = [row.index for row in half.test.evaluations["compiled"].rows]
    assert tested == list(range(len(tested)))
    assert f"only {len(tested)} of 40 examples were tested" in half.stopped


def test_a_budget_that_ends_before_a_first_candidate_is_an_error(tmp_path: Path) -> None:
    lm = lmpipe.ScriptedLM(lambda _: "I would rather not say.")  # so every run is retried
    with pytest.raises(BudgetExhaustedError, match="used up"):
        lmpipe.compile(recipe(student=lm, budget=lmpipe.Budget(calls=40)), runs=tmp_path)
    assert 0 < len(lm.requests) <= 20


def test_a_call_longer_than_the_lms_context_is_a_recipe_error(tmp_path: Path) -> None:
    lm = student(context=5)
    with pytest.raises(RecipeError, match="context"):
        lmpipe.compile(recipe(student=lm, budget=lmpipe.Budget(tokens=10**6)), runs=tmp_path)


def test_the_plan_bounds_what_is_spent(tmp_path: Path) -> None:
    made = recipe()
    plan = prepare(made).plan()
    run = lmpipe.compile(made, runs=tmp_path)
    assert sum(spend.calls for spend in run.spend.values()) <= plan.total.calls


class KnownLoop(TwoSteps):
    def forward(self, thing: str):  # type: ignore[no-untyped-def]
        for number in range(3):
            self.describe(thing=f"{thing} {number}")
        return super().forward(thing)


class UnknownLoop(TwoSteps):
    def forward(self, thing: str):  # type: ignore[no-untyped-def]
        for word in thing.split():
            self.describe(thing=word)
        return super().forward(thing)


class HiddenLoop(TwoSteps):
    """Uses a predictor in a way that its source does not tell."""

    def forward(self, thing: str):  # type: ignore[no-untyped-def]
        describe = self.describe
        for word in thing.split():
            describe(thing=word)
        return super().forward(thing)


LIMITED = lmpipe.Budget(calls=3000)


def test_a_loop_of_known_length_is_counted_and_compiles_within_a_budget(tmp_path: Path) -> None:
    made = recipe(program=KnownLoop(), budget=LIMITED)
    assert prepare(made).plan().calls_per_run == 2 * (4 + 1)
    run = lmpipe.compile(made, runs=tmp_path)
    assert run.account.total.calls <= 3000


def test_a_budget_for_a_loop_of_unknown_length_is_refused_before_any_call(tmp_path: Path) -> None:
    lm = student()
    made = recipe(program=UnknownLoop(), budget=LIMITED, student=lm)
    with pytest.raises(RecipeError, match=r"UnknownLoop\.describe is used in a loop.*`max_calls"):
        lmpipe.compile(made, runs=tmp_path)
    assert lm.requests == []


def test_a_use_that_no_source_tells_ends_a_compile_with_a_budget_at_the_first_run(
    tmp_path: Path,
) -> None:
    lm = student()
    made = recipe(program=HiddenLoop(), budget=LIMITED, student=lm)
    with pytest.raises(RecipeError, match=r"max_calls = …"):
        lmpipe.compile(made, runs=tmp_path, concurrency=1)
    assert len(lm.requests) <= 2 * 8


@pytest.mark.parametrize("program", [UnknownLoop(), HiddenLoop()])
def test_without_a_budget_a_repeated_use_is_told_once_and_the_compile_goes_on(
    tmp_path: Path, program: lmpipe.Module
) -> None:
    with pytest.warns(UserWarning, match="max_calls") as warned:
        run = lmpipe.compile(recipe(program=program), runs=tmp_path)
    assert len(warned) == 1
    lines = (run.path / "events.jsonl").read_text().splitlines()
    told = [line for line in lines if "repeated use" in line]
    assert len(told) == 1
    assert "max_calls" in told[0]
    assert all("program" not in candidate.evaluation.failures for candidate in run.candidates)


def test_an_outage_stops_the_compile_and_lowers_no_score(tmp_path: Path) -> None:
    healthy = student()
    lmpipe.compile(recipe(student=healthy), runs=tmp_path / "healthy")
    answered = 0

    def dies(request: Request) -> str:
        nonlocal answered
        answered += 1
        if answered > 200:
            raise LMUnavailableError("the server is unavailable")
        return answer(request)

    with pytest.raises(LMUnavailableError):
        lmpipe.compile(
            recipe(student=lmpipe.ScriptedLM(dies)), runs=tmp_path / "dies", concurrency=1
        )
    (folder,) = (tmp_path / "dies").iterdir()
    (whole,) = (tmp_path / "healthy").iterdir()
    scored = (folder / "candidates.jsonl").read_bytes()
    assert (whole / "candidates.jsonl").read_bytes().startswith(scored)


def test_rows_on_which_the_metric_raises_are_counted_separately(tmp_path: Path) -> None:
    def touchy(example: lmpipe.Example, prediction: object) -> bool:
        if "sky" in example.thing:
            raise ValueError("no sky, please")
        return bool(example.colour == prediction.colour)  # type: ignore[attr-defined]

    with pytest.warns(CompileWarning, match="no sky, please"):
        run = lmpipe.compile(recipe(metric=touchy), runs=tmp_path)
    sky = sum("sky" in example.thing for example in things(30, seed=1, start=100))
    assert run.best.evaluation.failures["metric"] == sky


def test_a_metric_that_raises_on_all_predictions_stops_the_compile(tmp_path: Path) -> None:
    def broken(example: lmpipe.Example, prediction: object, trace: lmpipe.Trace) -> bool:
        raise KeyError(len(trace.steps))

    with pytest.raises(MetricError, match="every one of 14 rows"):
        lmpipe.compile(recipe(metric=broken), runs=tmp_path)


def test_unparseable_replies_are_counted_separately_and_keep_the_raw_text(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(), runs=tmp_path)
    declared = run.candidates[0].evaluation
    failed = [row for row in declared.rows if row.failure]
    assert failed
    assert all(row.failure and row.failure.kind == "output" for row in failed)
    assert all(row.failure and "rather not" in row.failure.raw for row in failed)


def test_bootstrapped_demonstrations_have_fields_that_the_data_lack(tmp_path: Path) -> None:
    optimizer = lmpipe.BootstrapFewShot(bootstrapped=3, labeled=0)
    run = lmpipe.compile(recipe(program=TwoSteps(), optimizer=optimizer), runs=tmp_path)
    compiled = run.candidates[-1].state
    assert [demo.source for demo in compiled["describe"].demos] == ["bootstrapped"] * 3


def test_the_run_folder_holds_the_best_state(tmp_path: Path) -> None:
    run = lmpipe.compile(recipe(), runs=tmp_path)
    assert read_artifact(run.path).state == run.state


def test_a_loaded_program_has_the_score_in_the_manifest(tmp_path: Path) -> None:
    made = recipe()
    run = lmpipe.compile(made, runs=tmp_path)
    loaded = lmpipe.load(run.path, made.program)
    assert isinstance(made.test, list)
    again = lmpipe.evaluate(loaded, made.test, made.metric, lm=made.student)
    manifest = read_artifact(run.path).manifest
    assert again.score == manifest["test"]["scores"]["compiled"]["score"]


def test_an_lm_without_a_temperature_is_sent_none_by_any_role(tmp_path: Path) -> None:
    student, teacher, proposer = (proposing_lm(name=name, temperature=None) for name in "stp")
    lmpipe.compile(
        recipe(
            student=student,
            teacher=teacher,
            proposer=proposer,
            optimizer=lmpipe.MIPROv2(instructions=2, demo_sets=2, trials=2),
        ),
        runs=tmp_path,
    )
    for lm in (student, teacher, proposer):
        assert lm.requests
        assert {request.lm.temperature for request in lm.requests} == {None}


@pytest.mark.parametrize("figure", ["calls", "tokens"])
def test_budgets_hold_if_replies_are_cut_and_asked_again_with_more_room(
    tmp_path: Path, figure: str
) -> None:
    def cut(request: Request) -> str | Reply:
        assert request.lm.max_tokens is not None
        if request.lm.max_tokens < 150 and "number 1" in request.messages[-1].content:
            return Reply("## col", finish="length", usage=Usage(50, request.lm.max_tokens))
        return answer(request)

    lm = lmpipe.ScriptedLM(cut, max_tokens=100, context=200)
    budget = lmpipe.Budget(calls=200) if figure == "calls" else lmpipe.Budget(tokens=40_000)
    run = lmpipe.compile(recipe(student=lm, budget=budget), runs=tmp_path)
    assert max(request.lm.max_tokens or 0 for request in lm.requests) == 150
    assert getattr(run.account.total, figure) <= getattr(budget, figure)
