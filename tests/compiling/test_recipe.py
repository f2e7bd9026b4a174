"""Recipes: splits, prices, plans, number checks and files."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.world import recipe, things

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.recipe import prepare
from lmpipe.data.splits import shuffled
from lmpipe.errors import ConfigError, DataError, RecipeError
from lmpipe.settings import DEFAULT_LM, using

VLLM = {"base_url": "http://127.0.0.1:1/v1"}


def test_without_val_a_third_of_train_is_split_off_by_the_seed() -> None:
    prepared = prepare(recipe(val=None, test=None))
    assert (len(prepared.train), len(prepared.val)) == (27, 13)
    assert prepare(recipe(val=None, test=None, seed=1)).val != prepared.val


def test_sizes_are_drawn_by_the_seed() -> None:
    prepared = prepare(recipe(train_size=10, val_size=5, test_size=7))
    assert [len(part) for part in (prepared.train, prepared.val, prepared.test)] == [10, 5, 7]
    assert prepared.train != tuple(things(40)[:10])


def test_asking_for_too_many_rows_is_an_error() -> None:
    with pytest.raises(
        DataError, match="train_size=99: 99 rows are needed, but there are only 40 in train"
    ):
        prepare(recipe(train_size=99))


def test_the_identity_has_no_secret_and_changes_with_the_parts() -> None:
    secret = lmpipe.LM("vllm/m", api_key="sk-secret", **VLLM)
    prepared = prepare(recipe(student=secret))
    assert "sk-secret" not in str(prepared.identity)
    assert prepared.hash != prepare(recipe(student=secret, seed=1)).hash
    assert prepared.hash == prepare(recipe(student=secret)).hash


def test_a_budget_in_dollars_needs_prices() -> None:
    budget = lmpipe.Budget(usd=1.0)
    with pytest.raises(RecipeError, match="price of vllm/m is unknown"):
        prepare(recipe(student=lmpipe.LM("vllm/m", **VLLM), budget=budget))
    priced = lmpipe.LM("vllm/m", price=(1.0, 2.0), **VLLM)
    assert prepare(recipe(student=priced, budget=budget)).plan().total.usd > 0


def test_a_budget_in_dollars_is_never_exceeded(tmp_path: Path) -> None:
    from helpers.world import student

    lm = student(price=(1000.0, 1000.0), context=200)
    run = lmpipe.compile(recipe(student=lm, budget=lmpipe.Budget(usd=12.0)), runs=tmp_path)
    assert 0 < sum(spend.usd for spend in run.spend.values()) <= 12.0
    assert run.stopped


def test_a_file_may_hold_several_recipes(tmp_path: Path) -> None:
    file = tmp_path / "several.py"
    file.write_text("from helpers.world import recipe as make\none = make(seed=1)\n")
    assert load_recipe(f"{file}:one").seed == 1
    with pytest.raises(RecipeError, match="no recipe called 'recipe'; it has one"):
        load_recipe(file)


@pytest.mark.parametrize(("name", "words"), [("no.py", "no such file"), ("", "is a folder")])
def test_a_missing_file_is_named_with_its_remedy(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(RecipeError, match=rf"{words}.*give the Python file of a program"):
        load_recipe(tmp_path / name)


def test_a_file_that_fails_is_a_recipe_error(tmp_path: Path) -> None:
    file = tmp_path / "fails.py"
    file.write_text("import no_such_module_at_all\n")
    with pytest.raises(RecipeError, match=r"fails\.py, line 1, cannot be run: ModuleNot"):
        load_recipe(file)


@pytest.mark.parametrize("count", [2, 3, 10, 41])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_split_partitions_the_training_rows(count: int, seed: int) -> None:
    given = things(count)
    prepared = prepare(recipe(train=given, val=None, test=None, seed=seed))
    assert sorted(str(e) for e in (*prepared.train, *prepared.val)) == sorted(map(str, given))
    assert 1 <= len(prepared.val) <= len(prepared.train)


def test_a_split_of_a_sorted_file_is_random() -> None:
    train = sorted(things(60), key=lambda row: row.colour)
    prepared = prepare(recipe(train=train, val=None, test=None))
    assert {row.colour for row in prepared.val} == {row.colour for row in prepared.train}


def test_the_sizes_of_both_parts_of_a_split_can_be_chosen() -> None:
    prepared = prepare(recipe(val=None, test=None, train_size=12, val_size=6))
    assert (len(prepared.train), len(prepared.val)) == (12, 6)


def test_one_row_cannot_be_split() -> None:
    with pytest.raises(DataError, match="leave any to learn from"):
        prepare(recipe(train=things(1), val=None, test=None))


def test_the_plan_counts_the_runs_on_train() -> None:
    for changes, runs in (({}, 32), ({"train_size": 10}, 10)):
        check = prepare(recipe(**changes)).plan().train_check
        assert check is not None
        assert check.runs == runs
    assert prepare(recipe(train_check=0)).plan().train_check is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_check", -1),
        ("train_size", 0),
        ("val_size", 0),
        ("val_size", -1),
        ("test_size", 2.5),
        ("test_size", True),
        ("seed", -1),
        ("seed", "0"),
    ],
)
def test_a_number_out_of_range_is_an_error(name: str, value: object) -> None:
    with pytest.raises(RecipeError, match=rf"Recipe\({name}=.*\): {name} must be "):
        recipe(**{name: value})


def test_racing_must_be_rules() -> None:
    with pytest.raises(RecipeError, match="racing must be"):
        recipe(racing=True)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("copies", [2, 5, 11])
def test_duplicate_rows_are_split_off_together(seed: int, copies: int) -> None:
    given = [*things(13 - copies), *things(1) * (copies - 1)]
    prepared = prepare(recipe(train=given, val=None, test=None, seed=seed))
    parts = ({row.thing for row in prepared.train}, {row.thing for row in prepared.val})
    assert not parts[0] & parts[1]
    assert all(parts)
    assert len(prepared.train) + len(prepared.val) == len(given)


def test_a_split_without_duplicates_stays_as_it_was() -> None:
    prepared = prepare(recipe(train=things(12), val=None, test=None, seed=3))
    assert list(prepared.val) + list(prepared.train) == shuffled(things(12), 3)


def test_rows_that_are_all_the_same_cannot_be_split() -> None:
    with pytest.raises(DataError, match="all 9 training rows have the same inputs"):
        prepare(recipe(train=things(1) * 9, val=None, test=None))


def test_a_recipe_without_a_student_is_compiled_for_the_configured_lm() -> None:
    configured = lmpipe.LM("vllm/configured", **VLLM)
    with using(lm=configured):
        prepared = prepare(recipe(student=None))
    assert prepared.lms.student == prepared.lms.teacher == prepared.lms.proposer == configured
    assert prepared.identity["student"] == configured.identity()
    assert prepared.lm_source("student") == "configured"


def test_the_student_of_a_recipe_is_not_the_configured_lm() -> None:
    named = lmpipe.LM("vllm/named", **VLLM)
    with using(lm=lmpipe.LM("vllm/configured", **VLLM)):
        prepared = prepare(recipe(student=named))
    assert prepared.lms.student == named
    assert prepared.lm_source("student") == "recipe"


def test_without_any_named_lm_the_student_is_the_embedded_one() -> None:
    with using(lm=DEFAULT_LM):
        prepared = prepare(recipe(student=None))
    assert prepared.lms.student == lmpipe.LM("local")
    assert prepared.lm_source("student") == "default"


def test_a_judge_by_default_is_the_configured_lm_even_beside_a_student() -> None:
    configured = lmpipe.LM("vllm/configured", **VLLM)
    judged = lmpipe.metrics.judge(max_calls=1)(lambda example, prediction: 1.0)
    with using(lm=configured):
        prepared = prepare(recipe(metric=judged))
    assert prepared.lms.judge == configured
    assert prepared.lm_source("judge") == "configured"


def test_the_racing_rules_are_part_of_the_identity() -> None:
    identities = [
        prepare(recipe(racing=racing)).identity["race"]
        for racing in (lmpipe.Racing(), lmpipe.Racing(risk=0.1, block=5), None)
    ]
    assert identities == [
        {"risk": lmpipe.Racing().risk, "block": None},
        {"risk": 0.1, "block": 5},
        False,
    ]


@pytest.mark.parametrize("role", ["student", "teacher", "proposer", "judge", "embedder"])
def test_the_lm_of_a_role_may_be_a_name(role: str) -> None:
    assert getattr(recipe(**{role: "openai/m"}), role) == lmpipe.LM("openai/m")
    with pytest.raises(ConfigError, match="not an LM: 7"):
        recipe(**{role: 7})
