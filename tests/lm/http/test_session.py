"""Connections that are left open: in a forked child, and at the end of a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers.fake_server import FakeServer

START = """
import os, sys
import lmpipe
from lmpipe.lm.runtime import Runtime

lm = lmpipe.LM("vllm/m", base_url=sys.argv[1], timeout=10.0)
runtime = Runtime()

def ask(question):
    with lmpipe.using(lm=lm, runtime=runtime):
        print(lmpipe.Predict("question -> answer")(question=question).answer, flush=True)

ask("first")
"""

FORK = """
child = os.fork()
if not child:
    ask("in the child")
    sys.exit()
os.waitpid(child, 0)
ask("second")
runtime.close()
"""


def output_of(script: str) -> tuple[str, str]:
    """What a script prints to stdout and stderr."""
    with FakeServer(lambda body: "## answer\nyes") as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.base_url],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    return done.stdout, done.stderr


def test_a_process_may_end_without_closing_its_connections() -> None:
    assert output_of(START) == ("yes\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_leaves_the_connections_of_its_parent_alone() -> None:
    assert output_of(START + FORK) == ("yes\n" * 3, "")
