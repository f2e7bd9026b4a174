"""77 intents are learned from two examples of each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from helpers.asked_outputs import reply_with

import lmpipe
from lmpipe.lm.request import Request
from programs import intents
from programs.banking77 import Intent

PARTS = {part: intents.intents(part).read() for part in ("train", "val", "test")}
LABELS = {row.text: row.label for rows in PARTS.values() for row in rows}


@pytest.mark.parametrize(("part", "each"), [("train", 2), ("val", 1), ("test", 1)])
def test_every_intent_has_equally_many_messages(part: str, each: int) -> None:
    counts = Counter(row.label for row in PARTS[part])
    assert counts == dict.fromkeys(get_args(Intent), each)


def test_no_message_is_in_two_splits() -> None:
    texts = [row.text.casefold() for rows in PARTS.values() for row in rows]
    assert len(set(texts)) == len(texts)


def name_shown(request: Request) -> str:
    """Name the right intent if a demonstration has it, and else the first one of all."""
    *shown, asked = (message.text for message in request.messages[1:])
    label = next(label for text, label in LABELS.items() if text in asked)
    known = any(label in text for text in shown)
    return reply_with(request, {"label": label if known else "age_limit"})


def test_a_compile_shows_the_messages_that_are_alike(tmp_path: Path) -> None:
    lm = lmpipe.ScriptedLM(name_shown, context=16_384)
    recipe = intents.recipe.replace(student=lm, val_size=30, racing=None, train_check=0)
    run = lmpipe.compile(recipe, runs=tmp_path)
    assert run.test is not None
    assert run.test.evaluations[run.test.baseline].score < 0.05
    assert run.test.evaluations["compiled"].score > 0.5
