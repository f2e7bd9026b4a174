"""The tickets program on the embedded LM, recorded once and replayed offline.

`make record` records it again with the embedded LM.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using

ROOT = Path(__file__).parents[2]
CASSETTE = ROOT / "tests" / "cassettes" / "tickets.jsonl"
EXPECTED = ROOT / "tests" / "cassettes" / "tickets-expected.json"
RECORD = bool(os.environ.get("LMPIPE_RECORD"))


def small_recipe(monkeypatch: pytest.MonkeyPatch) -> lmpipe.Recipe:
    monkeypatch.chdir(ROOT)
    optimizer = lmpipe.RandomSearch(
        candidates=3, demos=6, bootstrapped=2, threshold=0.75, constrained_share=1.0
    )
    return load_recipe("programs/tickets.py").replace(
        val_size=12, test_size=16, optimizer=optimizer, ablation=False
    )


def test_a_compile_on_the_embedded_lm_replays_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_home: str
) -> None:
    recipe = small_recipe(monkeypatch)
    if RECORD:
        monkeypatch.setenv("LMPIPE_HOME", weights_home)
    cassette = Cassette(CASSETTE, mode="rewrite" if RECORD else "none", remedy="make record")
    runtime = Runtime(store=cassette)
    with using(lm=recipe.student, runtime=runtime):
        run = lmpipe.compile(recipe, runs=tmp_path)
    runtime.close()
    cassette.check()
    assert run.test is not None
    seen = {
        "state": run.state.hash,
        "scores": {name: round(score, 6) for name, score in run.scores.items()},
    }
    if RECORD:
        EXPECTED.write_bytes(orjson.dumps(seen, option=orjson.OPT_INDENT_2))
    assert seen == orjson.loads(EXPECTED.read_bytes())
    assert run.scores["compiled"] > run.scores[run.test.baseline]


@pytest.mark.real
def test_constrained_replies_of_the_embedded_lm_have_the_declared_types(
    monkeypatch: pytest.MonkeyPatch, weights_home: str
) -> None:
    monkeypatch.setenv("LMPIPE_HOME", weights_home)
    recipe = load_recipe(ROOT / "programs" / "tickets.py")
    program = recipe.program.bind(recipe.program.state().map(constrained=True, layout="json"))
    assert isinstance(recipe.val, lmpipe.Source)
    examples = recipe.val.read()[:8]
    runtime = Runtime()
    with using(lm=recipe.student, runtime=runtime):
        result = lmpipe.evaluate(program, examples, recipe.metric)
    runtime.close()
    assert result.failures == {}
