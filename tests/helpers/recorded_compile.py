"""Compile from a cassette, or record one with a real LM."""

from __future__ import annotations

import os
from pathlib import Path

import lmpipe
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using

RECORD = bool(os.environ.get("LMPIPE_RECORD"))


def compile_and_ask(recipe: lmpipe.Recipe, cassette: Path, runs: Path) -> lmpipe.Run:
    """Compile, load the result, and check that it answers a test row as it did in the compile."""
    recording = Cassette(cassette, mode="rewrite" if RECORD else "none", remedy="make record")
    runtime = Runtime(store=recording)
    with using(lm=recipe.student, runtime=runtime, embedder=recipe.embedder):
        run = lmpipe.compile(recipe, runs=runs)
        loaded = lmpipe.load(run.path, recipe.program)
        assert run.test is not None
        # The compile has called the LM for this row; the cassette has the reply.
        row = next(row for row in run.test.evaluations["compiled"].rows if row.failure is None)
        answer = loaded(**row.example.inputs)
    runtime.close()
    recording.check()
    assert answer == row.prediction
    return run
