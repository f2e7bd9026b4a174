"""Embedding of pools during a compile: requests, budgets, and what is saved."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from helpers.embeddings import scripted_embedder, vector_of
from helpers.tasks import make_task
from helpers.world import NameColour, recipe, student, things

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import BudgetExhaustedError, LMRequestError, RecipeError
from lmpipe.optimize.shared.draw_demos import labeled_demos
from lmpipe.state.program_state import Demo, ProgramState

PREDICTORS = lmpipe.Predict(NameColour).predictors()


def pool(count: int, start: int = 0) -> dict[str, list[Demo]]:
    return labeled_demos(PREDICTORS, things(count, start=start))


def test_a_pool_is_embedded_in_few_requests_and_no_text_twice() -> None:
    embedder = scripted_embedder()
    task = make_task(embedder=embedder)

    async def embed() -> None:
        first = await task.embed(pool(100))
        again = await task.embed(pool(110))
        assert first is not None
        assert again is not None
        (demos,) = pool(100).values()
        assert first("self", demos) == again("self", demos)

    with lmpipe.using(lm=student()):
        asyncio.run(embed())
    assert [len(request.messages) for request in embedder.requests] == [64, 36, 10]


def test_vectors_have_the_order_of_the_pool() -> None:
    task = make_task(embedder=scripted_embedder())
    (demos,) = pool(5).values()
    embedded = asyncio.run(task.embed({"self": demos}))
    assert embedded is not None
    single = [embedded("self", [demo]).data for demo in demos]
    assert single == [vector_of(str(demo.inputs["thing"])) for demo in demos]
    assert embedded("self", demos[::-1]) != embedded("self", demos)


def test_without_an_embedder_nothing_is_embedded() -> None:
    assert asyncio.run(make_task().embed(pool(3))) is None


def test_vectors_of_different_lengths_are_an_error() -> None:
    odd = scripted_embedder(vectors=lambda text: [1.0] * (2 + ("apple" in text)))
    with pytest.raises(LMRequestError, match="different lengths, 2 and 3"):
        asyncio.run(make_task(embedder=odd).embed(pool(20)))


@pytest.mark.parametrize("limit", ["calls=1", "tokens=4000"])
def test_a_pool_never_exceeds_the_budget(limit: str) -> None:
    embedder = scripted_embedder()
    task = make_task(embedder=embedder, budget=lmpipe.Budget.parse(limit))
    with pytest.raises(BudgetExhaustedError):
        asyncio.run(task.embed(pool(200)))
    assert len(embedder.requests) <= 1


def compiled(tmp_path: Path, **changes: object) -> lmpipe.Run:
    embedder = scripted_embedder()
    return lmpipe.compile(recipe(**{"embedder": embedder, **changes}), runs=tmp_path)


@pytest.mark.parametrize(
    "optimizer",
    [
        lmpipe.KNNFewShot(k=(2,), balanced=True),
        lmpipe.RandomSearch(candidates=3, retrieval_share=1.0, bootstrapped=1),
        lmpipe.MIPROv2(instructions=1, demo_sets=3, trials=3, bootstrapped=1),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_searches_select_the_nearest_by_embeddings(tmp_path: Path, optimizer: object) -> None:
    run = compiled(tmp_path, optimizer=optimizer)
    found = [c.state["self"].retrieval for c in run.candidates if c.state["self"].retrieval]
    assert found
    assert all(item.vectors and item.vectors.embedder == "scripted/embedder" for item in found)
    spent = run.account.by_role["embedder"]
    assert spent.calls > 0
    assert spent.usage.completion_tokens == 0


def test_a_saved_program_has_the_vectors_but_no_secret(tmp_path: Path) -> None:
    secret = scripted_embedder(api_key="sk-very-secret", headers={"X-Key": "hush"})
    run = compiled(tmp_path, optimizer=lmpipe.KNNFewShot(k=(2, 3)), embedder=secret)
    data = (run.path / "program.json").read_bytes()
    assert ProgramState.from_bytes(data) == run.state
    assert not [word for word in (b"sk-very-secret", b"hush", b"base_url") if word in data]
    embedder = scripted_embedder()
    program = lmpipe.load(run.path, lmpipe.Predict(NameColour))
    with lmpipe.using(lm=student(), embedder=embedder):
        program(thing="sky number 999")  # type: ignore[operator]
    assert len(embedder.requests) == 1  # only the inputs: the pool is not embedded again


def test_a_compile_may_start_from_a_program_that_embeds(tmp_path: Path) -> None:
    first = compiled(tmp_path, optimizer=lmpipe.KNNFewShot(k=(2,)))
    embedding = first.program.bind(
        next(c.state for c in first.candidates if c.state["self"].retrieval)
    )
    with lmpipe.using(embedder=scripted_embedder()):
        made = recipe(program=embedding, optimizer=lmpipe.LabeledFewShot(demos=2))
        run = lmpipe.compile(made, runs=tmp_path)
        assert run.account.total.calls <= prepare(made).plan().total.calls
    assert run.account.by_role["embedder"].calls > 0


def test_the_plan_counts_the_embedder() -> None:
    made = recipe(optimizer=lmpipe.KNNFewShot(k=(2,), bootstrap=False))
    without = prepare(made).plan()
    plan = prepare(made.replace(embedder=scripted_embedder(context=100))).plan()
    assert plan.calls_per_run == without.calls_per_run + 1
    runs = sum(phase.runs for phase in plan.phases)
    pool_calls = 1  # 40 texts
    assert plan.total.calls == without.total.calls + runs + pool_calls
    assert plan.total.tokens == without.total.tokens + 100 * (runs + 40)


def test_the_plan_of_a_search_without_retrieval_has_no_embedder() -> None:
    made = recipe(optimizer=lmpipe.LabeledFewShot(demos=2))
    with_one = made.replace(embedder=scripted_embedder())
    assert prepare(with_one).plan().total == prepare(made).plan().total


def test_a_budget_in_dollars_needs_the_embedders_price() -> None:
    unknown = lmpipe.LM("vllm/embedder", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(RecipeError, match="price of vllm/embedder is unknown"):
        prepare(recipe(embedder=unknown, budget=lmpipe.Budget(usd=1)))


def test_only_a_recipe_with_an_embedder_has_one_in_its_identity() -> None:
    assert "embedder" not in prepare(recipe()).identity
    assert prepare(recipe(embedder=scripted_embedder())).identity["embedder"]["model"]
