"""Every optimizer on the tickets program and the embedded LM: recorded once, replayed offline.

To record again, with the embedded LM at hand: `make record`.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
from helpers.optimizers import SMALL

import lmpipe
from lmpipe.lm.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.recipe_file import load_recipe
from lmpipe.settings import using

ROOT = Path(__file__).parents[2]
CASSETTES = ROOT / "tests" / "cassettes" / "optimizers"
# A reflection takes this LM many seconds.
SETTINGS = {**SMALL, "gepa": lmpipe.GEPA(calls=40)}
RECORD = bool(os.environ.get("LMPIPE_RECORD"))


def small_recipe(name: str) -> lmpipe.Recipe:
    return load_recipe("programs/tickets.py").replace(
        train_size=10, val_size=6, test_size=3, optimizer=SETTINGS[name], train_check=0
    )


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_compile_replays_to_the_same_state_and_its_artifact_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_home: str, name: str
) -> None:
    monkeypatch.chdir(ROOT)
    if RECORD:
        monkeypatch.setenv("LMPIPE_HOME", weights_home)
    recipe = small_recipe(name)
    expected = CASSETTES / f"{name}-expected.json"
    cassette = Cassette(
        CASSETTES / f"{name}.jsonl", mode="rewrite" if RECORD else "none", remedy="make record"
    )
    runtime = Runtime(store=cassette)
    with using(lm=recipe.student, runtime=runtime):
        run = lmpipe.compile(recipe, runs=tmp_path)
        loaded = lmpipe.load(run.path, recipe.program)
        assert run.test is not None
        # A row of the test is answered again, as the compile saw it answered.
        row = next(row for row in run.test.evaluations["compiled"].rows if row.failure is None)
        answer = loaded(**row.example.inputs)
    runtime.close()
    cassette.check()
    assert answer == row.prediction
    seen = {
        "state": run.state.hash,
        "calls": run.account.total.calls,
        "scores": {name: round(score, 6) for name, score in run.scores.items()},
    }
    if RECORD:
        expected.write_bytes(orjson.dumps(seen, option=orjson.OPT_INDENT_2) + b"\n")
    assert seen == orjson.loads(expected.read_bytes())
