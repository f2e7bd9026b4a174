"""The examples of the page about modules run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.filler import fill
from helpers.pages import examples_of, read_page, run_examples

import lmpipe
from lmpipe.lm.request import Request

LEARNED = {
    "cause": "Payments are not about the parcel.",
    "new_lessons": ["Tickets about payments go to billing."],
    "helpful": [],
    "harmful": [],
}


def fill_or_learn(request: Request) -> str:
    learning = '"new_lessons"' in request.messages[0].text
    return json.dumps(LEARNED) if learning else fill(request)


def test_the_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scripted = lmpipe.ScriptedLM(fill_or_learn)
    with lmpipe.using(lm=scripted):
        run_examples(examples_of("modules.md"), tmp_path)
    assert len(scripted.requests) > 10
    (state,) = lmpipe.ProgramState.from_bytes(Path("route.json").read_bytes()).predictors.values()
    assert [lesson.text for lesson in state.lessons] == LEARNED["new_lessons"]


def test_the_page_names_what_exists() -> None:
    for name in set(re.findall(r"\blmpipe\.(\w+)", read_page("modules.md"))):
        assert hasattr(lmpipe, name), name
