"""Compiles of programs with attempts: they learn, replay exactly and keep to their budgets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.world import COLOURS, NameColour, things

import lmpipe
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import exact_match
from lmpipe.settings import using


def script(request: Request) -> str:
    """Name the right colour more often with demonstrations, with advice and in some samples."""
    system, asked = request.messages[0].text, request.messages[-1].text
    if "Advise the steps" in system:
        return '[[diagnosis]]\nNot looked at.\n\n[[advice]]\n{"self": "Look at it well."}'
    shown = len(request.messages) + 9 * ("Look at it well" in system)
    number = int(asked.partition(" number ")[2].split()[0])
    kind = next(kind for kind in COLOURS if kind in asked)
    right = (number + 3 * request.sample) % 7 < shown // 2
    colour = COLOURS[kind] if right else "red"
    thought = f"[[reasoning]]\nThought {request.sample}.\n\n" if "reasoning" in system else ""
    return f"{thought}[[colour]]\n{colour}"


def says_its_colour(inputs: Any, prediction: Any) -> lmpipe.Score:
    """A reward that knows what the inputs say, as a validator would."""
    return lmpipe.Score(COLOURS[inputs.thing.split()[0]] == prediction.colour, "look again")


MADE: list[Any] = [
    lmpipe.BestOfN(lmpipe.Predict(NameColour), n=3, reward=says_its_colour, threshold=1),
    lmpipe.BestOfN(lmpipe.Predict(NameColour), n=2, reward=says_its_colour),
    lmpipe.SelfConsistency(lmpipe.ChainOfThought(NameColour), n=3),
    lmpipe.MultiChainComparison(NameColour, m=2),
    lmpipe.Refine(lmpipe.Predict(NameColour), n=3, reward=says_its_colour, threshold=1),
]


SEARCH = lmpipe.RandomSearch(candidates=3, demos=4, bootstrapped=4, layouts=("chat",))


def compiled(
    program: Any,
    folder: Path,
    *,
    calls: int | None = None,
    concurrency: int = 8,
    optimizer: lmpipe.BootstrapFewShot | lmpipe.RandomSearch = SEARCH,
) -> Any:
    recipe = lmpipe.Recipe(
        program=program,
        train=things(12),
        val=things(10, seed=1, start=100),
        test=things(8, seed=2, start=200),
        metric=exact_match("colour"),
        optimizer=optimizer,
        student=lmpipe.ScriptedLM(script),
        budget=lmpipe.Budget(calls=calls),
        name="colours",
    )
    return lmpipe.compile(recipe, runs=folder, concurrency=concurrency)


@pytest.mark.parametrize("program", MADE, ids=lambda item: type(item).__name__)
def test_a_compile_is_replayed_whatever_the_concurrency(program: Any, tmp_path: Path) -> None:
    store, made = Cache(tmp_path / "cache"), []
    with using(runtime=Runtime(store=store)):
        for concurrency in (32, 2):
            run = compiled(program, tmp_path / str(concurrency), concurrency=concurrency)
            files = ("program.json", "candidates.jsonl")
            made.append([(run.path / file).read_bytes() for file in files])
    store.close()
    assert made[0] == made[1]


@pytest.mark.parametrize("program", MADE, ids=lambda item: type(item).__name__)
def test_a_budget_of_calls_holds(program: Any, tmp_path: Path) -> None:
    with using(runtime=Runtime()):
        run = compiled(program, tmp_path, calls=200)
    spent = sum(spend.calls for spend in run.spend.values())
    assert 0 < spent <= 200
    assert run.stopped


def test_demonstrations_are_learned_from_the_attempts_that_were_right(tmp_path: Path) -> None:
    bootstrap = lmpipe.BootstrapFewShot(bootstrapped=8, labeled=0, teacher_demos=0)
    with using(runtime=Runtime()):
        run = compiled(MADE[0], tmp_path, optimizer=bootstrap)
    demos = run.state["program"].demos
    assert {demo.source for demo in demos} == {"bootstrapped"}
    for demo in demos:
        assert demo.outputs["colour"] == COLOURS[demo.inputs["thing"].split()[0]]


def test_a_program_is_loaded_with_what_it_learned(tmp_path: Path) -> None:
    with using(runtime=Runtime(), lm=lmpipe.ScriptedLM(script)):
        run = compiled(MADE[4], tmp_path)
        loaded = lmpipe.load(run.path, program=MADE[4])
        assert loaded.state() == run.state
        assert loaded(thing="grass number 5").colour == "green"
    learned = json.loads((run.path / "program.json").read_text())["state"]["predictors"]
    assert list(learned) == ["advise", "program"]
