"""A compile with any optimizer resumes after a kill: resume is replay."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.killing import kill_and_resume
from helpers.optimizers import EVERY
from helpers.proposing_lm import answer_or_propose_body

PROGRAM = """
import os
import lmpipe
from helpers.optimizers import EVERY
from helpers.world import TwoSteps, recipe as make_recipe, things

recipe = make_recipe(
    student=lmpipe.LM("vllm/fake", base_url=os.environ["FAKE_URL"]),
    program=TwoSteps(),
    train=things(20),
    val=things(12, seed=1, start=100),
    test=things(8, seed=2, start=200),
    optimizer=EVERY[{name!r}],
)
"""


@pytest.mark.parametrize("name", list(EVERY))
def test_a_killed_compile_resumes_and_repeats_no_call(tmp_path: Path, name: str) -> None:
    found = kill_and_resume(tmp_path, PROGRAM.format(name=name), answer_or_propose_body)
    for file in ("program.json", "candidates.jsonl"):
        assert (found.resumed / file).read_bytes() == (found.undisturbed / file).read_bytes()
    assert not found.repeated & found.safe
