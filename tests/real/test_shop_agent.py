"""The agent with an MCP server on a small LM, recorded once and replayed offline.

`make record` records it again, with the weights in `models/`. In a replay the tools run too, those
of the server in a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.recorded_compile import RECORD, compile_and_ask

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe
from lmpipe.foundation.statistics import paired_interval

pytest.importorskip("mcp")

ROOT = Path(__file__).parents[2]
CASSETTES = ROOT / "tests" / "cassettes" / "agents"
GUIDE = ROOT / "docs" / "agents.md"
WEIGHTS = "models/qwen2.5-coder-1.5b.gguf"


def small_recipe(name: str) -> lmpipe.Recipe:
    return load_recipe(f"programs/shop_agent.py:{name}").replace(
        student=lmpipe.LM(f"local/{WEIGHTS}"),
        optimizer=lmpipe.BootstrapFewShot(bootstrapped=4, labeled=0, teacher_demos=0),
        train_size=12,
        val_size=8,
        test_size=30,
        train_check=0,
    )


def row_of_table(protocol: str, run: lmpipe.Run) -> str:
    """The line about a compile in the guide to agents."""
    assert run.test is not None
    tested = [run.test.evaluations[name] for name in ("as declared", "compiled")]
    pairs = zip(*(evaluation.values for evaluation in tested), strict=True)
    gains = [after - before for before, after in pairs]
    scores = [
        *((evaluation.score, evaluation.interval) for evaluation in tested),
        (sum(gains) / len(gains), paired_interval(gains)),
    ]
    cells = [f"{100 * mean:.0f} [{100 * i.low:.0f}, {100 * i.high:.0f}]" for mean, i in scores]
    return f"| {protocol} | Qwen2.5-Coder-1.5B | {' | '.join(cells)} |"


@pytest.mark.parametrize(("name", "protocol"), [("recipe", "text"), ("native", "native")])
def test_a_compile_replays_to_the_scores_in_the_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_home: str, name: str, protocol: str
) -> None:
    monkeypatch.chdir(ROOT)
    if RECORD:
        if not Path(WEIGHTS).exists():
            pytest.skip(f"{WEIGHTS} is missing")
        monkeypatch.setenv("LMPIPE_HOME", weights_home)
    run = compile_and_ask(small_recipe(name), CASSETTES / f"shop-{protocol}.jsonl", tmp_path)
    expected = CASSETTES / f"shop-{protocol}-expected.json"
    seen: dict[str, Any] = {"state": run.state.hash, "row": row_of_table(protocol, run)}
    if RECORD:
        expected.write_bytes(orjson.dumps(seen, option=orjson.OPT_INDENT_2) + b"\n")
    assert seen == orjson.loads(expected.read_bytes())
    assert seen["row"] in GUIDE.read_text(encoding="utf-8")
