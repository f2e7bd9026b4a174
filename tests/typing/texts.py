"""The types that checkers must infer from searches for texts. Checked, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type

import lmpipe

ROWS = [lmpipe.Example(line="a", code="b").with_inputs("line")]


def length(text: str) -> float:
    return min(1.0, len(text) / 10)


def finds(text: str, example: lmpipe.Example) -> lmpipe.Score:
    return lmpipe.Score(float(text in example["line"]))


async def both(texts: Mapping[str, str]) -> bool:
    return texts["head"] != texts["tail"]


one = lmpipe.optimize_text("a", length, budget=lmpipe.Budget(calls=10))
assert_type(one.best, str)
assert_type(one.candidates[0].text, str)
assert_type(one.score, float)

learned = lmpipe.optimize_text("a", finds, train=ROWS, proposer="local")
assert_type(learned.best, str)

several = lmpipe.optimize_text({"head": "", "tail": ""}, both)
assert_type(several.best, Mapping[str, str])


async def search() -> None:
    found = await lmpipe.aoptimize_text("a", finds, train=ROWS)
    assert_type(found.best, str)
    assert_type(found.run, lmpipe.Run)
