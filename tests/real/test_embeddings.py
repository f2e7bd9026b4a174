"""Demonstrations retrieved by a real embedding model, recorded once and replayed offline.

To record again, serve the model as described in `tests/helpers/embedding_server.py`, set
$LMPIPE_EMBEDDER_URL to its URL, and run `make record`.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
from helpers.recorded_compile import RECORD, compile_and_ask

import lmpipe
from lmpipe.compiling.load_recipe import load_recipe

ROOT = Path(__file__).parents[2]
CASSETTE = ROOT / "tests" / "cassettes" / "optimizers" / "knn-embedded.jsonl"
EXPECTED = CASSETTE.with_name("knn-embedded-expected.json")
URL = os.environ.get("LMPIPE_EMBEDDER_URL", "")


def small_recipe() -> lmpipe.Recipe:
    embedder = lmpipe.LM("openai/all-MiniLM-L6-v2", base_url=URL or "http://127.0.0.1:8091/v1")
    return load_recipe("programs/tickets.py").replace(
        train_size=24,
        val_size=8,
        test_size=4,
        optimizer=lmpipe.KNNFewShot(k=(2, 4)),
        embedder=embedder,
        train_check=0,
        ablation=False,
    )


@pytest.mark.skipif(RECORD and not URL, reason="$LMPIPE_EMBEDDER_URL is not set")
def test_a_compile_with_embeddings_replays_to_the_same_state_and_its_result_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_home: str
) -> None:
    monkeypatch.chdir(ROOT)
    if RECORD:
        monkeypatch.setenv("LMPIPE_HOME", weights_home)
    recipe = small_recipe()
    run = compile_and_ask(recipe, CASSETTE, tmp_path)
    embedded = run.account.by_role["embedder"]
    seen = {
        "state": run.state.hash,
        "calls": run.account.total.calls,
        "embedder": {"calls": embedded.calls, "tokens": embedded.tokens},
        "scores": {name: round(score, 6) for name, score in run.scores.items()},
    }
    if RECORD:
        EXPECTED.write_bytes(orjson.dumps(seen, option=orjson.OPT_INDENT_2) + b"\n")
    assert seen == orjson.loads(EXPECTED.read_bytes())
    learned = run.state["route"].retrieval
    assert learned is not None
    assert learned.vectors is not None
    assert (learned.vectors.embedder, learned.vectors.dimension) == (recipe.embedder.model, 384)
    assert b"127.0.0.1" not in (run.path / "program.json").read_bytes()
