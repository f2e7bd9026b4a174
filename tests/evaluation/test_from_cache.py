"""Rows that are scored again from the cache alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from helpers.world import NameColour, answer, things

import lmpipe
from lmpipe.errors import CassetteMissError
from lmpipe.evaluation.evaluate import RunOptions
from lmpipe.evaluation.from_cache import rows_from_cache
from lmpipe.evaluation.results import Row
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import exact_match
from lmpipe.modules.module import Module

METRIC = exact_match("colour")
EXAMPLES = things(6)


class Careless(lmpipe.Module):
    """Goes on without an answer."""

    def __init__(self) -> None:
        self.name = lmpipe.Predict(NameColour)

    def forward(self, thing: str) -> NameColour:
        try:
            return self.name(thing=thing)
        except CassetteMissError:
            return NameColour(thing=thing, colour="red")


def rows_after_scoring(folder: Path, program: Module, count: int) -> Mapping[int, Row]:
    """Score the first examples with an LM, then all of them from the cache."""
    lm = lmpipe.ScriptedLM(answer)
    runtime = Runtime(store=Cache(folder))
    try:
        with lmpipe.using(lm=lm, runtime=runtime):
            lmpipe.evaluate(program, EXAMPLES[:count], METRIC, progress=False)
            asked = len(lm.requests)
            found = asyncio.run(rows_from_cache(program, EXAMPLES, METRIC, RunOptions()))
    finally:
        runtime.close()
    assert len(lm.requests) == asked  # no LM was called
    return found


def test_rows_whose_replies_are_stored_are_scored_and_the_others_left_out(tmp_path: Path) -> None:
    found = rows_after_scoring(tmp_path, lmpipe.Predict(NameColour), 4)
    assert list(found) == [0, 1, 2, 3]
    assert all(row.example == EXAMPLES[place] for place, row in found.items())


def test_a_program_that_goes_on_without_a_reply_is_left_out_too(tmp_path: Path) -> None:
    assert list(rows_after_scoring(tmp_path, Careless(), 2)) == [0, 1]
