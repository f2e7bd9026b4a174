"""A whole compile against a cassette, and its artifact asked: for tests of real LMs."""

from __future__ import annotations

import os
from pathlib import Path

import lmpipe
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using

RECORD = bool(os.environ.get("LMPIPE_RECORD"))


def compile_and_ask(recipe: lmpipe.Recipe, cassette: Path, runs: Path) -> lmpipe.Run:
    """Compile from a cassette, or record it; the loaded artifact answers as it was tested."""
    tape = Cassette(cassette, mode="rewrite" if RECORD else "none", remedy="make record")
    runtime = Runtime(store=tape)
    with using(lm=recipe.student, runtime=runtime, embedder=recipe.embedder):
        run = lmpipe.compile(recipe, runs=runs)
        loaded = lmpipe.load(run.path, recipe.program)
        assert run.test is not None
        # A row of the test is answered again, as the compile saw it answered.
        row = next(row for row in run.test.evaluations["compiled"].rows if row.failure is None)
        answer = loaded(**row.example.inputs)
    runtime.close()
    tape.check()
    assert answer == row.prediction
    return run
