"""A compile with any optimizer resumes after a kill: resume is replay."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from helpers.fake_server import FakeServer
from helpers.killing import WINDOW, RecordingReply, environment, finish, only_run
from helpers.optimizers import EVERY
from helpers.proposing_lm import answer_or_propose_body
from helpers.warm_process import WarmProcess

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
    program = PROGRAM.format(name=name)
    replies = RecordingReply(alarm_at=80, reply=answer_or_propose_body)
    with FakeServer(replies, latency=0.05) as server:
        (tmp_path / "colours.py").write_text(program)
        command = ["compile", "colours.py", "--runs=runs", "--concurrency=8"]
        killed = WarmProcess(tmp_path, command, environment(tmp_path, server.base_url))
        assert replies.alarm.wait(60)
        kept = time.monotonic() - WINDOW - 0.05
        killed.kill()
        before = list(replies.requests)
        assert not (only_run(tmp_path / "runs") / "program.json").exists()

    with FakeServer(replies, port=server.port) as server:
        finish(tmp_path, server.base_url, "--runs=runs", program=program)
        repeated = {body for _, body in replies.requests[len(before) :]}
        finish(tmp_path, server.base_url, "--runs=whole", cache="another", program=program)

    resumed, undisturbed = only_run(tmp_path / "runs"), only_run(tmp_path / "whole")
    for file in ("program.json", "candidates.jsonl"):
        assert (resumed / file).read_bytes() == (undisturbed / file).read_bytes()
    safe = {body for when, body in before if when < kept}
    assert safe  # otherwise the test shows nothing
    assert not repeated & safe
