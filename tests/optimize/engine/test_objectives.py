"""Objectives: what a candidate is compared by when tokens and dollars count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.world import recipe, student, things

import lmpipe
from lmpipe.compiling.final_test import compare
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import RecipeError
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.call import Call
from lmpipe.lm.prices import Price
from lmpipe.lm.request import Reply
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import Score
from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.objectives import Objectives
from lmpipe.optimize.engine.race_rules import Racing
from lmpipe.state.trace import Trace
from lmpipe.state.usage import Usage

EXAMPLE = things(1)[0]
# Tokens are dear here: eight of them outweigh a point.
DEAR = {"tokens": -20.0}


def call(tokens: int, *, role: str = "task", **reply: Any) -> Call:
    usage = Usage(tokens - 10, 10)
    return Call("k", "self", role, "lm", Price(1.0, 2.0), Reply("", usage=usage, **reply))


def row(score: float, *calls: Call, index: int = 0) -> Row:
    return Row(index, EXAMPLE, None, Score(score), None, Trace(), calls, 0.0)


def rows(scores: list[float], tokens: int) -> list[Row]:
    return [row(score, call(tokens), index=index) for index, score in enumerate(scores)]


def compiled(runs: Path, **changes: Any) -> lmpipe.Run:
    settings: dict[str, Any] = {
        "optimizer": lmpipe.RandomSearch(candidates=8, demos=6, bootstrapped=2),
        "racing": None,
    }
    return lmpipe.compile(recipe(**{**settings, **changes}), runs=runs)


def test_a_weight_counts_a_thousand_tokens() -> None:
    assert Objectives(tokens=-0.2).weighted_score(row(0.9, call(500))) == pytest.approx(0.8)


def test_a_weight_counts_a_dollar_of_a_thousand_runs() -> None:
    # 90 prompt tokens at 1 dollar and 10 reply tokens at 2 dollars for a million each.
    taken = (90 + 20) / 1e6 * 1000
    weighed = Objectives(usd=-2).weighted_score(row(0.9, call(100)))
    assert weighed == pytest.approx(0.9 - 2 * taken)


def test_the_weighted_score_is_in_units_of_the_score() -> None:
    taken = row(0.9, call(500))
    one, ten = Objectives(tokens=-0.2), Objectives(score=10, tokens=-2)
    assert ten.weighted_score(taken) == pytest.approx(one.weighted_score(taken))


def test_calls_of_the_metric_do_not_count() -> None:
    objectives = Objectives(tokens=-1, usd=-1)
    alone, judged = row(1, call(100)), row(1, call(100), call(900, role="judge"))
    assert objectives.weighted_score(judged) == objectives.weighted_score(alone)


@pytest.mark.parametrize("name", ["tokens", "usd"])
def test_caches_change_nothing(name: str) -> None:
    objectives = Objectives.of({name: -1})
    assert objectives is not None
    stored = call(100, cached=True)
    from_prefix = Call(
        "k", "self", "task", "lm", Price(1.0, 2.0, 0.1), Reply("", usage=Usage(90, 10, 80))
    )
    weighed = {objectives.weighted_score(row(1, one)) for one in (call(100), stored, from_prefix)}
    assert len(weighed) == 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"latency": -1}, "latency is unknown; the names are score, tokens, usd"),
        ({"tokens": 0.2}, "rewards spending"),
        ({"score": 0}, "give one above 0"),
        ({"tokens": "much"}, "give a number"),
        ({"usd": float("nan")}, "give a number"),
        ([("tokens", -1)], "give weights by name"),
    ],
)
def test_wrong_weights_are_named(weights: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(objectives=weights)


def test_dollars_need_a_price_of_the_student() -> None:
    unknown = lmpipe.LM("vllm/some-model", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(RecipeError, match=r"the objectives weigh dollars .*price=\(dollars per"):
        prepare(recipe(student=unknown, objectives={"usd": -1}))


# --- a compile


def test_dear_tokens_choose_a_shorter_prompt(tmp_path: Path) -> None:
    plain, weighed = compiled(tmp_path), compiled(tmp_path, objectives=DEAR)
    assert weighed.best.run_tokens < plain.best.run_tokens
    assert weighed.best.score < plain.best.score
    assert weighed.best.weighted_score == max(item.weighted_score for item in weighed.candidates)


def test_the_plain_scores_stay_visible(tmp_path: Path) -> None:
    run = compiled(tmp_path, objectives=DEAR)
    assert run.best.score == run.scores["validation"] > run.best.weighted_score
    entry = run.to_json()["validation"][run.best.number]
    assert (entry["score"], entry["weighted_score"]) == (run.best.score, run.best.weighted_score)


def test_the_estimate_is_of_the_score_of_the_one_that_was_chosen(tmp_path: Path) -> None:
    run = compiled(tmp_path, objectives=DEAR)
    assert run.validation_estimate is not None
    assert abs(run.validation_estimate - run.best.score) < 0.15


def test_the_state_of_the_cache_does_not_change_the_result(tmp_path: Path) -> None:
    with lmpipe.using(runtime=Runtime(store=Cache(tmp_path / "cache"))):
        cold, warm = (compiled(tmp_path / name, objectives=DEAR) for name in ("cold", "warm"))
    assert warm.account.total.fresh_calls == 0
    assert [item.weighted_score for item in cold.candidates] == [
        item.weighted_score for item in warm.candidates
    ]
    assert cold.state == warm.state


@pytest.mark.parametrize("concurrency", [1, 5])
def test_the_concurrency_does_not_change_the_result(tmp_path: Path, concurrency: int) -> None:
    made = recipe(objectives=DEAR)
    with lmpipe.using(runtime=Runtime()):
        one = lmpipe.compile(made, runs=tmp_path / "a")
        other = lmpipe.compile(made, runs=tmp_path / "b", concurrency=concurrency)
    assert (one.path / "candidates.jsonl").read_bytes() == (
        other.path / "candidates.jsonl"
    ).read_bytes()


def test_objectives_are_part_of_the_recipe_only_if_there_are_any() -> None:
    plain = prepare(recipe())
    assert "objectives" not in plain.identity
    hashes = {prepare(recipe(objectives=item)).hash for item in (None, DEAR, {"tokens": -1})}
    assert len(hashes) == 3


def test_prices_are_part_of_the_recipe_if_they_are_weighed() -> None:
    hashes = {
        prepare(recipe(student=student(price=price), objectives={"usd": -1})).hash
        for price in ((1, 2), (1, 3))
    }
    assert len(hashes) == 2


# --- comparisons


def candidate(scores: list[float], tokens: int, objectives: Objectives | None = None) -> Candidate:
    state = lmpipe.ProgramState(predictors={})
    evaluation = Evaluation(tuple(rows(scores, tokens)))
    return Candidate(0, "", state, evaluation, of=len(scores), objectives=objectives)


def test_equal_scores_go_to_the_fewer_tokens_of_a_run() -> None:
    short, long = candidate([1, 0], 100), candidate([0, 1], 101)
    assert short.rank > long.rank
    assert candidate([1, 1], 900).rank > short.rank


def test_a_race_of_costly_candidates_keeps_no_certain_loser() -> None:
    # Costs take these scores far below 0.
    cheap, dear = [1 - 2.0, 0 - 2.1, 1 - 2.2] * 4, [1 - 5.0, 1 - 5.2, 1 - 5.1] * 4
    assert Racing().survivors({"dear": dear, "cheap": cheap}, looks=3) == ["cheap"]


def test_the_final_test_is_decided_by_the_weighted_scores() -> None:
    before, after = [0.0, 1.0] * 10, [1.0] * 20
    evaluations = {
        "as declared": Evaluation(tuple(rows(before, 100))),
        "compiled": Evaluation(tuple(rows(after, 1100))),
    }
    plain = compare(evaluations)
    dear = compare(evaluations, Objectives(tokens=-0.8))
    assert (plain.improved, dear.improved) == (True, False)
    assert dear.difference == plain.difference == 0.5
    assert dear.weighted is not None
    assert dear.weighted.mean == pytest.approx(0.5 - 0.8)


def test_the_baseline_is_the_better_one_by_weighted_score() -> None:
    evaluations = {
        "long": Evaluation(tuple(rows([1.0] * 8, 2000))),
        "short": Evaluation(tuple(rows([0.9] * 8, 100))),
        "compiled": Evaluation(tuple(rows([1.0] * 8, 500))),
    }
    assert compare(evaluations).baseline == "long"
    assert compare(evaluations, Objectives(tokens=-0.2)).baseline == "short"
