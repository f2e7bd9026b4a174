"""Every optimizer on the tickets program and the embedded LM, recorded once and replayed offline.

`make record` records them again with the embedded LM.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from helpers.optimizers import SMALL
from helpers.recorded_compile import RECORD, compile_and_ask

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe

ROOT = Path(__file__).parents[2]
CASSETTES = ROOT / "tests" / "cassettes" / "optimizers"
# Reflections are slow with this LM.
SETTINGS = {
    **SMALL,
    "gepa": lmpipe.GEPA(runs=40),
    "edit-search": lmpipe.EditSearch(runs=40, edits=4, batch=6),
}


def small_recipe(name: str) -> lmpipe.Recipe:
    return load_recipe("programs/tickets.py").replace(
        train_size=10,
        val_size=6,
        test_size=3,
        optimizer=SETTINGS[name],
        train_check=0,
        ablation=False,
    )


@pytest.mark.parametrize("name", list(SETTINGS))
def test_a_compile_replays_to_the_same_state_and_its_result_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_home: str, name: str
) -> None:
    monkeypatch.chdir(ROOT)
    if RECORD:
        monkeypatch.setenv("LMPIPE_HOME", weights_home)
    recipe = small_recipe(name)
    expected = CASSETTES / f"{name}-expected.json"
    run = compile_and_ask(recipe, CASSETTES / f"{name}.jsonl", tmp_path)
    seen = {
        "state": run.state.hash,
        "calls": run.account.total.calls,
        "scores": {name: round(score, 6) for name, score in run.scores.items()},
    }
    if RECORD:
        expected.write_bytes(orjson.dumps(seen, option=orjson.OPT_INDENT_2) + b"\n")
    assert seen == orjson.loads(expected.read_bytes())
