"""The programs for multi-hop questions find the passages that prove the answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.world_reader import proof_of, read_world

import lmpipe
from programs import multi_hop
from programs.world_data import BY_ID, BY_TITLE, PASSAGES, questions

SMALL = {"train_size": 8, "val_size": 6, "test_size": 8, "racing": None, "train_check": 0}
HOP_RECIPES = ("hops_few_shot", "hops_bootstrap", "hops_ensemble")


def compiled(name: str, runs: Path) -> lmpipe.Run:
    recipe: lmpipe.Recipe = getattr(multi_hop, name)
    lm = lmpipe.ScriptedLM(read_world, context=16_384)
    return lmpipe.compile(recipe.replace(student=lm, **SMALL), runs=runs)


def scores(run: lmpipe.Run) -> tuple[float, float]:
    assert run.test is not None
    assert run.best.evaluation.failures == {}
    found = run.test.evaluations
    return found[run.test.baseline].score, found["compiled"].score


@pytest.mark.parametrize("name", HOP_RECIPES)
def test_several_hops_find_the_answers(name: str, tmp_path: Path) -> None:
    before, after = scores(compiled(name, tmp_path))
    assert before == 0
    assert after >= 0.9


@pytest.mark.parametrize("name", ["vanilla_few_shot", "rag_few_shot", "rag_bootstrap"])
def test_without_a_second_search_the_answers_stay_unknown(name: str, tmp_path: Path) -> None:
    assert scores(compiled(name, tmp_path))[1] <= 0.2


def test_one_search_almost_never_finds_all_that_an_answer_needs() -> None:
    complete = 0
    for example in questions("test").read():
        [found] = PASSAGES.search([example.question], k=5)
        complete += set(example.support) <= {passage.id for passage in found}
    assert complete <= 2


def test_every_passage_is_found_by_the_name_of_what_it_is_about() -> None:
    for title, passage in BY_TITLE.items():
        [found] = PASSAGES.search([title], k=3)
        assert passage.id in [one.id for one in found]


def test_examples_have_the_supporting_passages_for_demonstrations() -> None:
    for example in questions("train").read():
        titles = [BY_ID[one["id"]].title for one in example.passages]
        assert titles == list(dict.fromkeys(fact.subject for fact in proof_of(example.question)))


def test_a_hop_sees_the_notes_of_earlier_hops_and_no_passages_but_its_own() -> None:
    lm = lmpipe.ScriptedLM(read_world)
    [example, *_] = questions("val").read()
    with lmpipe.using(lm=lm):
        multi_hop.MULTI_HOP(question=example.question)
    assert len(lm.requests) == 2 * multi_hop.HOPS + 1
    asked = [request.messages[-1].text for request in lm.requests]
    assert all(text.count("Title: ") in (0, 4) for text in asked)


def test_wrong_answers_are_told_what_the_right_one_follows_from() -> None:
    [example, *_] = questions("val").read()
    score = multi_hop.proven_answer(example, {"answer": "elsewhere"})
    assert score.value == 0
    assert example.reasoning in score.feedback


@pytest.mark.parametrize("name", ["react_bootstrap", "react_bootstrap_twice"])
def test_an_agent_learns_from_the_tasks_that_it_solved(name: str, tmp_path: Path) -> None:
    before, after = scores(compiled(name, tmp_path))
    assert before < 1
    assert after == 1


@pytest.mark.parametrize("name", ["hops_bootstrap", "react_bootstrap"])
def test_a_budget_of_calls_holds(name: str, tmp_path: Path) -> None:
    recipe: lmpipe.Recipe = getattr(multi_hop, name)
    lm = lmpipe.ScriptedLM(read_world, context=16_384)
    budget = lmpipe.Budget(calls=600)
    run = lmpipe.compile(recipe.replace(student=lm, budget=budget, **SMALL), runs=tmp_path)
    assert len(lm.requests) <= run.account.total.calls <= 600
