"""The Parzen estimator: it learns, repeats no point, and leaves Optuna's log unchanged."""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
from collections import Counter
from statistics import fmean

import pytest

from lmpipe.errors import ConfigError
from lmpipe.optimize.shared.tpe import Point, TreeParzen

SPACE = {"one": 6, "two": 6, "three": 6}


def parzen(choices: dict[str, int] | None = None, *, seed: int = 0) -> TreeParzen:
    return TreeParzen(SPACE if choices is None else choices, random.Random(seed))


def value(point: Point) -> float:
    return sum(point.values()) / 15


def search(found: TreeParzen, batches: int, *, batch: int = 6) -> list[Point]:
    points = []
    for _ in range(batches):
        asked = found.ask(batch)
        found.tell([value(point) for point in asked])
        points += asked
    return points


@pytest.mark.parametrize("seed", range(3))
def test_later_points_score_higher(seed: int) -> None:
    points = search(parzen(seed=seed), 5)
    assert fmean(map(value, points[12:])) > fmean(map(value, points[:6])) + 0.1


def test_the_first_points_take_every_choice_equally_often() -> None:
    points = search(parzen({"layout": 3, "constrained": 2, "demos": 6}), 2, batch=3)
    assert set(Counter(point["layout"] for point in points).values()) == {2}
    assert set(Counter(point["constrained"] for point in points).values()) == {3}
    assert set(Counter(point["demos"] for point in points).values()) == {1}


def test_given_points_are_asked_for_first() -> None:
    first = [{"one": 5, "two": 4, "three": 3}, {"one": 1, "two": 1, "three": 1}]
    found = TreeParzen(SPACE, random.Random(0), first=first)
    assert found.ask(3)[:2] == first


def test_without_spread_points_the_estimator_chooses_at_once() -> None:
    found = TreeParzen({"one": 6}, random.Random(0), spread=0)
    for one in range(5):
        found.learn({"one": one}, float(one))
    assert found.ask(6) == [{"one": 5}]


def test_no_point_comes_twice_and_a_small_space_is_exhausted() -> None:
    points = search(parzen({"one": 2, "two": 3}), 8)
    assert sorted(map(tuple, (point.values() for point in points))) == [
        (one, two) for one in range(2) for two in range(3)
    ]


def test_a_space_without_parameters_has_one_point() -> None:
    assert search(parzen({}), 3) == [{}]


def test_a_learned_point_is_not_asked_for() -> None:
    found = parzen({"one": 2, "two": 2})
    found.learn({"one": 0, "two": 1}, 0.5)
    assert {"one": 0, "two": 1} not in search(found, 3)


def test_learned_points_change_which_points_are_asked_for() -> None:
    plain, taught = parzen(), parzen()
    for one in range(6):
        taught.learn({"one": one, "two": one, "three": 0}, float(one == 2))
    assert search(plain, 3) != search(taught, 3)


def test_points_only_depend_on_the_seed() -> None:
    script = """
import json, random
from lmpipe.optimize.shared.tpe import TreeParzen
found = TreeParzen({"one": 6, "two": 6, "three": 6}, random.Random(3))
points = []
for _ in range(4):
    asked = found.ask(6)
    found.tell([sum(point.values()) / 15 for point in asked])
    points += asked
print(json.dumps(points))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        check=True,
    )
    here = search(parzen(seed=3), 4)
    assert json.loads(done.stdout) == here
    assert search(parzen(seed=4), 4) != here


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_optuna_logs_nothing_and_its_log_level_is_restored(level: int) -> None:
    logger, said = logging.getLogger("optuna"), list[logging.LogRecord]()
    before = logger.level
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        search(parzen(), 2)
        assert logger.level == level
        assert said == []
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def test_without_optuna_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'lmpipe\[mipro\]'"):
        parzen()
