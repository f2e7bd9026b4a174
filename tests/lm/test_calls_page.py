"""docs/calls.md: its examples run, and its table of events is complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from helpers.pages import examples_of, read_page, run_examples

import lmpipe
from lmpipe.lm.stream_events import StreamEvent

PAGE = read_page("calls.md")


def test_the_examples_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm = lmpipe.ScriptedLM(lambda request: "[[summary]]\nIt is long.")
    with lmpipe.using(lm=lm):
        run_examples(examples_of("calls.md"), tmp_path, lm=lm)
    said = capsys.readouterr().out
    assert "asks scripted/scripted" in said
    assert "scripted/scripted: 2 calls" in said


def test_the_table_has_every_kind_of_event() -> None:
    described = set(re.findall(r"^\| `([a-z ]+)` \|", PAGE, re.M))
    assert described == {kind.kind for kind in get_args(StreamEvent)}
