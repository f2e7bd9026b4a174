"""The agent with an MCP server on a small LM, recorded once and replayed offline.

`LMPIPE_RECORD=1 pytest tests/real/test_shop_agent.py` records it again, with the weights in
`models/`; a recording that is stopped goes on where it was. In a replay the tools run too, those of
the server in a process of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.recorded_compile import RECORD

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.compiling.recipe import prepare
from lmpipe.evaluation.results import Evaluation
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using

pytest.importorskip("mcp")

ROOT = Path(__file__).parents[2]
CASSETTES = ROOT / "tests" / "cassettes" / "agents"
GUIDE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
LM = "local/models/qwen2.5-coder-1.5b.gguf"
RECIPES = {"native": "native", "text": "recipe"}
# What the guide tells is recorded.
RECORDED = [name for name in RECIPES if f"| {name} | " in GUIDE or RECORD]
TASKS = 10


def small_recipe(protocol: str) -> lmpipe.Recipe:
    return load_recipe(f"programs/shop_agent.py:{RECIPES[protocol]}").replace(
        student=lmpipe.LM(LM), train_size=12, val_size=8, test_size=30
    )


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch, weights_home: str) -> None:
    monkeypatch.chdir(ROOT)
    if RECORD:
        monkeypatch.setenv("LMPIPE_HOME", weights_home)


def by_kind(evaluation: Evaluation) -> list[str]:
    """The right answers of each kind of question, such as `8 of 12`."""
    values: dict[str, list[float]] = {"price": [], "postage": [], "several": []}
    for row, value in zip(evaluation.rows, evaluation.values, strict=True):
        values[row.example.kind].append(value)
    return [f"{sum(each):.0f} of {len(each)}" for each in values.values()]


@pytest.mark.parametrize("protocol", RECORDED)
def test_an_agent_as_declared_replays_to_its_score_in_the_guide(protocol: str) -> None:
    recipe = small_recipe(protocol)
    path = CASSETTES / f"shop-{protocol}.jsonl"
    cassette = Cassette(path, mode="rewrite" if RECORD else "none", remedy="make record")
    runtime = Runtime(store=cassette)
    with using(lm=recipe.student, runtime=runtime):
        examples = prepare(recipe).test[:TASKS]
        found = lmpipe.evaluate(recipe.program, examples, recipe.metric)
    runtime.close()
    cassette.check()
    low, high = (100 * bound for bound in (found.interval.low, found.interval.high))
    score = f"{100 * found.score:.0f} [{low:.0f}, {high:.0f}]"
    assert f"| {protocol} | {score} | {' | '.join(by_kind(found))} |" in GUIDE
