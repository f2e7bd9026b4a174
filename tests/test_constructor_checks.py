"""Public constructors and functions refuse numbers that they cannot use, and name the parameter."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
from helpers.world import recipe, things

import lmpipe
from lmpipe.compiling.recipe import prepare
from lmpipe.errors import InputError
from lmpipe.metrics import exact_match
from lmpipe.optimize.engine.budget import Ledger
from lmpipe.optimize.engine.events import Watchers

PUBLIC: dict[str, Any] = {name: getattr(lmpipe, name) for name in lmpipe.__all__}
CLASSES = {
    name: item
    for name, item in PUBLIC.items()
    if inspect.isclass(item) and not issubclass(item, Warning)
}

# Values that fit no numeric parameter: every one has a lower bound of 0 or more.
UNUSABLE = (-1, math.nan, math.inf, "many", True)

# Exceptions, with the reason.
NOT_CHECKED = {
    ("Evaluation", "seconds"): "a result, made by lmpipe",
    ("Run", "seconds"): "a result, made by lmpipe",
    ("Run", "validation_estimate"): "a result, made by lmpipe",
    ("Stream", "paths"): "made by lmpipe",
    ("Judge", "points"): "a table of scores by verdict",
    ("Passage", "score"): "any number, of which only the order has a meaning",
    ("Reply", "context"): "a result, made by a provider or a script",
    ("Reply", "seconds"): "a result, made by a provider or a script",
    ("Reply", "attempts"): "a result, made by a provider or a script",
    ("Score", "value"): "checked when the metric returns it, with the metric's name and the row",
    ("Score", "parts"): "checked like Score.value",
    ("LM", "price"): "a Price or a tuple, checked by Price",
    ("ScriptedLM", "vectors"): "a function",
    ("BestOfN", "threshold"): "any finite number, as rewards may be negative",
    ("Refine", "threshold"): "like that of BestOfN",
    ("Lesson", "helpful"): "checked by pydantic, as part of a state; see the last test",
    ("Lesson", "harmful"): "checked by pydantic, as part of a state; see the last test",
    ("Retrieval", "k"): "checked by pydantic, as part of a state; see the last test",
}


def task(**changes: Any) -> lmpipe.Task:
    ready = prepare(recipe())
    parts: dict[str, Any] = {
        "program": ready.recipe.program,
        "train": ready.train,
        "val": ready.val,
        "metric": ready.recipe.metric,
        "lms": ready.lms,
        "seed": 0,
        "ledger": Ledger(lmpipe.Budget()),
        "watcher": Watchers([]),
    }
    return lmpipe.Task(**{**parts, **changes})


def attempts(kind: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Make attempts at a program with numbers."""
    program = lmpipe.Predict("a -> b")
    return lambda **numbers: kind(program, **{"n": 2, **options, **numbers})


def any_reward(inputs: Any, prediction: Any) -> float:
    return 1.0


def find_nothing(query: str, k: int) -> list[str]:
    return []


# How to make an object of each class that needs more than its numbers.
MAKE: dict[str, Callable[..., Any]] = {
    "BM25": lambda **numbers: lmpipe.BM25(["a passage"], **numbers),
    "BestOfN": attempts(lmpipe.BestOfN, reward=any_reward),
    "ChainOfThought": lambda **numbers: lmpipe.ChainOfThought("a -> b", **numbers),
    "CodeAct": lambda **numbers: lmpipe.CodeAct("a -> b", [], **numbers),
    "Cost": lambda **numbers: lmpipe.Cost(**{"runs": 1, **numbers}),
    "Judge": lambda **numbers: lmpipe.Judge(
        "a -> verdict: bool", inputs={"a": "example.a"}, **numbers
    ),
    "LM": lambda **numbers: lmpipe.LM("vllm/m", **numbers),
    "MultiChainComparison": lambda **numbers: lmpipe.MultiChainComparison("a -> b", **numbers),
    "Predict": lambda **numbers: lmpipe.Predict("a -> b", **numbers),
    "ProgramOfThought": lambda **numbers: lmpipe.ProgramOfThought("a -> b", **numbers),
    "ReAct": lambda **numbers: lmpipe.ReAct("a -> b", [], **numbers),
    "Recipe": recipe,
    "RecursiveLM": lambda **numbers: lmpipe.RecursiveLM("a -> b", **numbers),
    "Refine": attempts(lmpipe.Refine, reward=any_reward),
    "Retrieve": lambda **numbers: lmpipe.Retrieve(find_nothing, **numbers),
    "SelfConsistency": attempts(lmpipe.SelfConsistency),
    "ServerSpec": lambda **numbers: lmpipe.ServerSpec(model="m", **numbers),
    "Task": task,
    "mcp_tools": lambda **numbers: lmpipe.mcp_tools(command=["server"], **numbers),
}


def numeric_parameters(name: str) -> Iterator[tuple[str, bool]]:
    """The numeric parameters of a class, and whether each one takes a tuple of numbers."""
    for parameter in inspect.signature(CLASSES[name]).parameters.values():
        annotation = str(parameter.annotation)
        if re.search(r"\b(int|float)\b", annotation) and (name, parameter.name) not in NOT_CHECKED:
            yield parameter.name, annotation.startswith("tuple")


CASES = [
    pytest.param(name, parameter, (value,) if many else value, id=f"{name}-{parameter}-{value}")
    for name in CLASSES
    for parameter, many in numeric_parameters(name)
    for value in UNUSABLE
]


@pytest.mark.parametrize(("name", "parameter", "value"), CASES)
def test_a_constructor_refuses_an_unusable_number_and_names_the_parameter(
    name: str, parameter: str, value: Any
) -> None:
    make = MAKE.get(name, CLASSES[name])
    with pytest.raises(InputError, match=rf"\b{parameter}\b"):
        make(**{parameter: value})


@pytest.mark.parametrize("name", list({case.values[0]: None for case in CASES}))
def test_a_constructor_accepts_its_defaults(name: str) -> None:
    MAKE.get(name, CLASSES[name])()


def test_the_exceptions_exist() -> None:
    for name, parameter in NOT_CHECKED:
        assert parameter in inspect.signature(CLASSES[name]).parameters


def evaluate(**numbers: Any) -> object:
    program = lmpipe.Predict("thing -> colour", lm=lmpipe.ScriptedLM(lambda _: "red"))
    return lmpipe.evaluate(program, things(1), exact_match("colour"), **numbers)


def using(**numbers: Any) -> object:
    with lmpipe.using(**numbers) as settings:
        return settings


def read_examples(**numbers: Any) -> object:
    return lmpipe.read_examples("examples.jsonl", inputs=["thing"], **numbers)


def split(**numbers: Any) -> object:
    return lmpipe.split(things(4), seed=0, **numbers)


@pytest.mark.parametrize("value", UNUSABLE)
@pytest.mark.parametrize(
    ("call", "parameter", "many"),
    [
        (evaluate, "concurrency", False),
        (evaluate, "row_timeout", False),
        (using, "deadline", False),
        (lmpipe.configure, "max_in_flight", False),
        (read_examples, "limit", False),
        (split, "sizes", True),
        (split, "fractions", True),
    ],
)
def test_a_function_refuses_an_unusable_number_and_names_the_parameter(
    call: Callable[..., object], parameter: str, many: bool, value: Any
) -> None:
    with pytest.raises(InputError, match=rf"\b{parameter}\b"):
        call(**{parameter: (value,) if many else value})


@pytest.mark.parametrize("value", UNUSABLE)
def test_a_compile_refuses_an_unusable_concurrency_before_it_starts(
    tmp_path: Path, value: Any
) -> None:
    with pytest.raises(InputError, match="concurrency must be"):
        lmpipe.compile(recipe(), runs=tmp_path, concurrency=value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [-1, 0, math.nan, "many"])
def test_pydantic_refuses_an_unusable_retrieval(value: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"\bk\b"):
        lmpipe.Retrieval(pool=(), k=value)


@pytest.mark.parametrize("count", ["helpful", "harmful"])
@pytest.mark.parametrize("value", UNUSABLE)
def test_pydantic_refuses_an_unusable_count_of_a_lesson(count: str, value: Any) -> None:
    with pytest.raises(pydantic.ValidationError, match=rf"\b{count}\b"):
        lmpipe.Lesson(text="Be brief.", **{count: value})
