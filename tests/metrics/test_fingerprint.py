"""The fingerprint of a metric changes with its code and settings, and with nothing else."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.data.example import Example
from lmpipe.metrics import (
    exact_match,
    field_accuracy,
    mean_of,
    metric_fingerprint,
    numeric_match,
    weighted,
)


def plain(example: Example, prediction: Any) -> bool:
    return bool(example.answer == prediction)


def near(example: Example, prediction: Any, tolerance: float = 0.1) -> bool:
    return bool(abs(example.answer - prediction) <= tolerance)


def made(threshold: Any) -> Any:
    def metric(example: Example, prediction: Any) -> bool:
        return bool(prediction > threshold)

    return metric


class Rubric:
    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._cache: dict[str, float] = {}

    def __call__(self, example: Example, prediction: Any) -> float:
        self._cache[str(prediction)] = self.weight
        return self.weight


def countdown(n: int) -> int:
    return countdown(n - 1) if n else 0


@lru_cache
def cached(text: str) -> str:
    return text.lower()


def with_cache(example: Example, prediction: Any) -> bool:
    return cached(example.answer) == cached(prediction)


def recursive(example: Example, prediction: Any) -> float:
    return countdown(prediction)


EVERY_KIND = [
    plain,
    near,
    partial(near, tolerance=0.2),
    made(1),
    Rubric(1.0),
    Rubric(1.0).__call__,
    recursive,
    with_cache,
    exact_match("a", "b"),
    field_accuracy("a"),
    numeric_match("a", tolerance=0.1),
    weighted((1, exact_match("a")), (2, plain)),
    lambda example, prediction: True,
    len,
]


@pytest.mark.parametrize("metric", EVERY_KIND, ids=range(len(EVERY_KIND)))
def test_every_kind_of_metric_has_a_fingerprint(metric: Any) -> None:
    assert len(metric_fingerprint(metric)) == 64


def test_all_kinds_differ() -> None:
    assert len(set(map(metric_fingerprint, EVERY_KIND))) == len(EVERY_KIND)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (exact_match("a"), exact_match("b")),
        (exact_match("a"), exact_match("a", gold="b")),
        (numeric_match("a"), numeric_match("a", tolerance=0.1)),
        (weighted((1, plain), (1, near)), weighted((1, plain), (2, near))),
        (mean_of(plain, near), mean_of(near, plain)),
        (made(1), made(2)),
        (made(exact_match("a")), made(exact_match("b"))),
        (partial(near, tolerance=0.1), partial(near, tolerance=0.2)),
        (Rubric(0.1), Rubric(0.2)),
        (made(lmpipe.LM("openai/a")), made(lmpipe.LM("openai/b"))),
    ],
)
def test_settings_change_the_fingerprint(one: Any, other: Any) -> None:
    assert metric_fingerprint(one) != metric_fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (exact_match("a"), exact_match("a")),
        (made(1), made(1)),
        (made({"x", "y", "z"}), made({"z", "y", "x"})),
        (made(object()), made(object())),
        (made(lmpipe.LM("openai/a", api_key="1")), made(lmpipe.LM("openai/a", api_key="2"))),
        (weighted((1, plain), (1, near)), weighted((2, plain), (2, near))),
    ],
)
def test_equal_metrics_have_equal_fingerprints(one: Any, other: Any) -> None:
    assert metric_fingerprint(one) == metric_fingerprint(other)


def test_calling_an_object_does_not_change_its_fingerprint() -> None:
    rubric = Rubric(1.0)
    before = metric_fingerprint(rubric)
    rubric(Example(answer=1), 1)
    assert metric_fingerprint(rubric) == before


BASE = """
from functools import lru_cache
LIMIT = 3

@lru_cache
def helper(text):
    return text.lower()

def unused(text):
    return text

def metric(example, prediction):
    return [helper(word) for word in prediction][:LIMIT] == example.answer
"""


def load(folder: Path, source: str) -> Any:
    path = folder / f"metrics_{abs(hash(source))}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.metric


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("LIMIT = 3", "LIMIT = 4", False),
        ("text.lower()", "text.upper()", False),
        ("== example.answer", "!= example.answer", False),
        ("return text\n", "return None\n", True),
        ("LIMIT = 3", "LIMIT = 3\nOTHER = 1", True),
    ],
)
def test_the_parts_of_its_module_that_a_metric_uses_change_the_fingerprint(
    tmp_path: Path, old: str, new: str, same: bool
) -> None:
    one, other = load(tmp_path, BASE), load(tmp_path, BASE.replace(old, new))
    assert (metric_fingerprint(one) == metric_fingerprint(other)) is same


def test_a_metric_without_source_has_a_fingerprint(tmp_path: Path) -> None:
    one, other = load(tmp_path, BASE), load(tmp_path, BASE.replace("== ex", "!= ex"))
    for path in tmp_path.glob("*.py"):
        path.unlink()
    assert metric_fingerprint(one) != metric_fingerprint(other)


def test_the_fingerprint_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "WORDS = frozenset({'a', 'b', 'c', 'd'})\n"
        "def metric(example, prediction):\n    return prediction in WORDS\n"
    )
    code = (
        "from lmpipe.metrics import *; from mine import metric;"
        "print(metric_fingerprint(weighted((1, metric), (1, exact_match('a')))))"
    )
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


def test_an_iterator_is_not_used_up() -> None:
    numbers = itertools.count()

    def metric(example: lmpipe.Example, prediction: object, trace: object) -> bool:
        return next(numbers) > 0

    metric_fingerprint(metric)
    assert next(numbers) == 0
