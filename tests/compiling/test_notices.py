"""What a compile tells its caller before it pays for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.recorder import Recorder
from helpers.world import NameColour, recipe, student

import lmpipe
from lmpipe.compiling.notices import CompileWarning, find_notices
from lmpipe.compiling.recipe import prepare
from lmpipe.settings import DEFAULT_LM, using

NOBODY = "local, the embedded model: neither the recipe nor lmpipe.configure names an LM"


def test_an_lm_that_nobody_named_is_told() -> None:
    with using(lm=DEFAULT_LM):
        assert find_notices(prepare(recipe(student=None))) == {"student": NOBODY}


@pytest.mark.parametrize(
    "changes",
    [{}, {"student": None, "program": lmpipe.Predict(NameColour, lm=student())}],
    ids=["the recipe names one", "the predictor names its own"],
)
def test_a_named_lm_is_not_mentioned(changes: dict[str, Any]) -> None:
    with using(lm=DEFAULT_LM):
        assert find_notices(prepare(recipe(**changes))) == {}


def half(example: lmpipe.Example, prediction: Any) -> float:
    return 0.5


def test_notices_are_in_the_events_of_the_run(tmp_path: Path) -> None:
    with pytest.warns(CompileWarning, match="below 1"):
        run = lmpipe.compile(recipe(metric=half), runs=tmp_path)
    assert b"below 1" in (run.path / "events.jsonl").read_bytes()


def test_watchers_are_notified_in_place_of_a_warning(tmp_path: Path) -> None:
    recorder = Recorder()
    lmpipe.compile(recipe(metric=half), runs=tmp_path, watchers=[recorder])
    assert "metric" in [kind for kind, _ in recorder.notes]
