"""A compile of a DSPy module by `lmpipe compile` resumes after a kill: resume is replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.dspy_programs import BY_NAME
from helpers.dspy_stub import answer_or_propose
from helpers.killing import kill_and_resume

PROGRAM = """
import os
import dspy
import lmpipe
from helpers.dspy_programs import BY_NAME
from lmpipe.integrations.dspy import DSPyOptimizer

case = BY_NAME["multi-hop"]
recipe = lmpipe.Recipe(
    program=case.make(),
    train=case.data(12),
    val=case.data(8, first=20),
    test=case.data(4, first=40),
    metric=case.metric,
    optimizer={optimizer},
    student=lmpipe.LM("vllm/fake", base_url=os.environ["FAKE_URL"]),
    budget=lmpipe.Budget(calls=1500),
)
"""
MIPRO = """DSPyOptimizer(
        dspy.MIPROv2, auto=None, num_candidates=3, num_threads=4,
        compile_options={"num_trials": 4, "minibatch": False},
    )"""
OPTIMIZERS = {
    "dspy.MIPROv2": MIPRO,
    "random-search": "lmpipe.RandomSearch(candidates=4)",
    "gepa": "lmpipe.GEPA(runs=60)",
}


def reply(body: dict[str, Any]) -> str:
    schema = (body.get("structured_outputs") or {}).get("json")
    turns = [str(turn["content"]) for turn in body["messages"]]
    return answer_or_propose(turns, schema, body.get("seed") or 0, BY_NAME["multi-hop"].values)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_killed_compile_resumes_and_repeats_no_call(tmp_path: Path, name: str) -> None:
    program = PROGRAM.format(optimizer=OPTIMIZERS[name])
    found = kill_and_resume(tmp_path, program, reply)
    for file in ("program.json", "candidates.jsonl", "scores.jsonl"):
        assert (found.resumed / file).read_bytes() == (found.undisturbed / file).read_bytes()
    assert not found.repeated & found.safe
    manifest = orjson.loads((found.resumed / "manifest.json").read_bytes())
    assert manifest["program"]["class"] == "MultiHop"
