"""A program that searches is compiled: budget, spend by role, and what a resumed run repeats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.embeddings import scripted_embedder

import lmpipe
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using

CITIES = {f"city{number}": f"river{number}" for number in range(40)}
CORPUS = [lmpipe.Passage(f"{city} lies on the {river}.", id=city) for city, river in CITIES.items()]


class FromPassages(lmpipe.Signature):
    """Name the river, from the passages."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    city: str = lmpipe.Input()
    river: str = lmpipe.Output()


class River(lmpipe.Module):
    def __init__(self, retriever: Any) -> None:
        self.retrieve = lmpipe.Retrieve(retriever, k=1)
        self.answer = lmpipe.Predict(FromPassages)

    def forward(self, city: str) -> FromPassages:
        return self.answer(passages=self.retrieve(f"{city} lies on the"), city=city)


def script(request: Any) -> str:
    """Read the passage; that of an even city only with a demonstration that shows how."""
    found = re.search(r"Id: city(\d+)\n\n\w+ lies on the (\w+)", request.messages[-1].text)
    assert found is not None
    right = int(found[1]) % 2 or len(request.messages) > 2
    return f"[[river]]\n{found[2] if right else 'none'}"


def recipe(program: lmpipe.Module, lm: lmpipe.LM, budget: int) -> lmpipe.Recipe:
    examples = [
        lmpipe.Example(city=city, river=river).with_inputs("city") for city, river in CITIES.items()
    ]
    return lmpipe.Recipe(
        program=program,
        train=examples[:15],
        val=examples[15:30],
        metric=lmpipe.metrics.exact_match("river"),
        optimizer=lmpipe.BootstrapFewShot(),
        student=lm,
        budget=lmpipe.Budget(calls=budget),
    )


@pytest.mark.parametrize("budget", [100, 400])
def test_the_budget_holds_with_the_requests_that_embed_queries(tmp_path: Path, budget: int) -> None:
    lm, embeds = lmpipe.ScriptedLM(script), scripted_embedder()
    with using(lm=lm, runtime=Runtime(), embedder=embeds):
        run = lmpipe.compile(recipe(River(lmpipe.Embeddings.of(CORPUS)), lm, budget), runs=tmp_path)
    calls = {role: spend.calls for role, spend in run.spend.items() if spend.calls}
    embedded = calls.pop("embedder")
    assert embedded == sum(calls.values()) > 0
    assert 2 * embedded <= budget


def test_a_compiled_program_searches_the_same_corpus(tmp_path: Path) -> None:
    lm = lmpipe.ScriptedLM(script)
    program = River(lmpipe.BM25(CORPUS))
    with using(lm=lm, runtime=Runtime()):
        run = lmpipe.compile(recipe(program, lm, 400), runs=tmp_path)
        assert run.program(city="city34").river == "river34"
        loaded = lmpipe.load(run.path, program)
        assert loaded(city="city36").river == "river36"


def test_a_compile_that_is_run_again_embeds_and_asks_nothing(tmp_path: Path) -> None:
    asked = []
    for _ in range(2):
        lm, embeds = lmpipe.ScriptedLM(script), scripted_embedder()
        runtime = Runtime(store=Cache(tmp_path / "cache"))
        with using(lm=lm, runtime=runtime, embedder=embeds):
            index = lmpipe.Embeddings.of(CORPUS)
            lmpipe.compile(recipe(River(index), lm, 400), runs=tmp_path / "runs")
        runtime.close()  # the next one finds on the disk what this one has written
        asked.append((len(lm.requests), len(embeds.requests)))
    assert asked[0] > (0, 0)
    assert asked[1] == (0, 0)
