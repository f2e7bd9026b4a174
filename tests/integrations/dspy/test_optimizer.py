"""DSPy's own optimizers on lmpipe's engine: what they find alone, within a budget, resumable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import dspy
import pytest
from helpers.dspy_programs import BY_NAME, Case, answer_with_feedback, same_answer
from helpers.dspy_stub import recording_stub, scripted_lm
from helpers.pages import read_page
from rich.console import Console

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import RecipeError
from lmpipe.integrations.dspy import DSPyOptimizer, from_dspy, to_dspy
from lmpipe.report.terminal import plan_json, print_plan

CASE = BY_NAME["chain-of-thought"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def mipro(lm: Any) -> Any:
    return dspy.MIPROv2(
        metric=same_answer,
        prompt_model=lm,
        task_model=lm,
        auto=None,
        num_candidates=3,
        max_bootstrapped_demos=2,
        max_labeled_demos=2,
        num_threads=1,
        seed=3,
    )


def gepa(lm: Any) -> Any:
    return dspy.GEPA(
        metric=answer_with_feedback, reflection_lm=lm, max_metric_calls=40, seed=3, num_threads=1
    )


MIPRO_OPTIONS = {"num_trials": 4, "minibatch": False}
OPTIMIZERS = {"MIPROv2": (mipro, MIPRO_OPTIONS), "GEPA": (gepa, {})}


def recipe(optimizer: Any, case: Case = CASE, **changes: Any) -> lmpipe.Recipe:
    parts: dict[str, Any] = {
        "program": case.make(),
        "train": case.data(8),
        "val": case.data(6, first=10),
        "metric": case.metric,
        "optimizer": optimizer,
        "train_check": 0,
        "ablation": False,
        "racing": None,
    }
    return lmpipe.Recipe(**{**parts, **changes})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_finds_here_what_it_finds_alone(name: str, tmp_path: Path) -> None:
    make, options = OPTIMIZERS[name]
    train, val = CASE.data(8), CASE.data(6, first=10)
    with recording_stub(CASE.values) as stub:
        lm = stub.dspy_lm()
        with dspy.context(lm=lm):
            alone = make(lm).compile(CASE.make(), trainset=train, valset=val, **options)
            evaluate = dspy.Evaluate(devset=val, metric=same_answer, num_threads=1)
            score = evaluate(alone).score / 100
        stub.take()
        optimizer = DSPyOptimizer(make(lm), compile_options=options)
        run = lmpipe.compile(recipe(optimizer, student=stub.lm()), runs=tmp_path)
    (found,) = [each for each in run.candidates if each.name.startswith("dspy.")]
    here = to_dspy(found.state, CASE.make())
    assert found.score == score > run.candidates[0].score
    for (_, one), (_, other) in zip(here.named_predictors(), alone.named_predictors(), strict=True):
        assert one.signature.instructions == other.signature.instructions
        assert [dict(demo) for demo in one.demos] == [dict(demo) for demo in other.demos]


@pytest.mark.parametrize("limit", [20, 45])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_call_is_made_beyond_the_budget(name: str, limit: int, tmp_path: Path) -> None:
    kinds = {
        "MIPROv2": DSPyOptimizer(
            dspy.MIPROv2, auto=None, num_candidates=3, num_threads=4, compile_options=MIPRO_OPTIONS
        ),
        "GEPA": DSPyOptimizer(dspy.GEPA, max_metric_calls=60),
    }
    student = scripted_lm(CASE.values)
    made = recipe(kinds[name], student=student, budget=lmpipe.Budget(calls=limit))
    run = lmpipe.compile(made, runs=tmp_path)
    spent = sum(role.calls for role in run.spend.values())
    assert len(student.requests) <= spent <= limit
    assert run.stopped


def test_other_programs_are_refused(tmp_path: Path) -> None:
    from helpers.world import recipe as world

    made = world(optimizer=DSPyOptimizer(dspy.GEPA, max_metric_calls=5))
    with pytest.raises(RecipeError, match="compiles DSPy modules"):
        lmpipe.compile(made, runs=tmp_path)


def test_optimizers_that_learn_no_state_are_refused() -> None:
    with pytest.raises(RecipeError, match="KNNFewShot"):
        DSPyOptimizer(dspy.KNNFewShot)


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(RecipeError, match="give an optimizer of DSPy"):
        DSPyOptimizer(from_dspy(CASE.make()))


def test_an_optimizer_is_chosen_by_its_name(tmp_path: Path) -> None:
    student = scripted_lm(CASE.values)
    made = recipe("dspy.BootstrapFewShot", student=student)
    run = lmpipe.compile(made, runs=tmp_path)
    assert run.candidates[-1].name == "dspy.BootstrapFewShot"
    assert len(run.state["predict"].demos) > 0


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    made = recipe("dspy.MIPRO3", student=scripted_lm(CASE.values))
    with pytest.raises(RecipeError, match="DSPy has no optimizer 'MIPRO3'"):
        lmpipe.compile(made, runs=tmp_path)


def test_what_dspy_prints_does_not_reach_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optimizer = DSPyOptimizer(
        dspy.MIPROv2, auto=None, num_candidates=2, num_threads=2, compile_options=MIPRO_OPTIONS
    )
    lmpipe.compile(recipe(optimizer, student=scripted_lm(CASE.values)), runs=tmp_path)
    printed = capsys.readouterr()
    assert "Bootstrapping set" in printed.err
    assert "Bootstrapp" not in printed.out


def test_the_best_program_so_far_is_kept_when_the_budget_ends(tmp_path: Path) -> None:
    optimizer = DSPyOptimizer(
        dspy.MIPROv2,
        auto=None,
        num_candidates=3,
        num_threads=1,
        compile_options={"num_trials": 12, "minibatch": False},
    )
    made = recipe(optimizer, student=scripted_lm(CASE.values), budget=lmpipe.Budget(calls=100))
    run = lmpipe.compile(made, runs=tmp_path)
    assert run.stopped
    assert run.candidates[-1].name == "dspy.MIPROv2, best so far"
    assert run.scores["validation"] == 1.0
    assert sum(role.calls for role in run.spend.values()) <= 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depht": 2}, "SIMBA has no argument depht; it has metric, bsize"),
        ({"compile_options": {"trials": 3}}, r"SIMBA\.compile has no argument trials"),
    ],
)
def test_unknown_arguments_are_refused_at_once(options: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        DSPyOptimizer(dspy.SIMBA, **options)


def test_what_an_optimizer_says_of_its_settings_is_told(tmp_path: Path) -> None:
    made = recipe(DSPyOptimizer(dspy.GEPA), student=scripted_lm(CASE.values))
    with pytest.raises(RecipeError, match=r"dspy\.GEPA cannot be made: .*max_metric_calls"):
        lmpipe.compile(made, runs=tmp_path)


def test_its_settings_have_no_secrets() -> None:
    made = DSPyOptimizer(dspy.BootstrapFewShot, teacher_settings={"api_key": "key-1", "n": 2})
    assert made.settings() == {"teacher_settings": {"n": 2}}


def plan_of(budget: lmpipe.Budget | None) -> tuple[dict[str, Any], str]:
    optimizer = DSPyOptimizer(dspy.MIPROv2, auto=None, num_candidates=3)
    prepared = prepare(recipe(optimizer, budget=budget or lmpipe.Budget()))
    plan, console = plan_json(prepared), Console(record=True, width=200, file=StringIO())
    print_plan(console, plan)
    return plan, console.export_text()


def test_a_plan_says_that_only_the_budget_bounds_the_search() -> None:
    plan, text = plan_of(lmpipe.Budget(calls=500))
    assert plan["open_ended"] is True
    assert "what dspy.MIPROv2 asks in its search is not known in advance, and not counted" in text
    assert "the budget (calls=500) bounds the search" in text


def test_a_plan_without_a_budget_asks_for_one() -> None:
    _, text = plan_of(None)
    assert "only a budget bounds it" in text
    assert "no budget: set one" in text


@pytest.mark.parametrize("optimizer", ["dspy.MIPROv2", "mipro", "dspy.GEPA", "gepa"])
def test_the_guide_has_what_an_optimizer_finds_and_spends(optimizer: str, tmp_path: Path) -> None:
    parts = {"test": CASE.data(12, first=20), "student": scripted_lm(CASE.values)}
    raced = recipe(optimizer, **parts, racing=lmpipe.Racing())
    run = lmpipe.compile(raced, runs=tmp_path, progress=False)
    before, after = (f"{100 * run.scores[name]:.0f}" for name in ("as declared", "compiled"))
    spent = run.account.total
    row = f"| `{optimizer}` | {before} | {after} | {spent.calls} | {spent.usage.tokens:,} |"
    assert row in read_page("dspy.md")
