"""docs/events.md: its examples run and print what it says, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from helpers.pages import blocks, examples_of, read_page, run_examples

import lmpipe
from lmpipe.lm.events import AnyEvent
from lmpipe.lm.observing import listening

PAGE = read_page("events.md")


def test_the_examples_print_what_the_page_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (printed,) = blocks(PAGE, "text")
    lm = lmpipe.ScriptedLM(lambda request: "[[summary]]\nIt is long.")
    with lmpipe.using(lm=lm):
        run_examples(examples_of("events.md"), tmp_path)
    said = capsys.readouterr().out
    assert re.match(r"write: \d+ tokens in \d\.\d s\nSummarize: It is long\.\n", said)
    assert said.endswith(printed)
    assert listening == []


def test_the_tables_have_every_event() -> None:
    kinds = get_args(AnyEvent)
    rows = re.findall(r"^\| (`.*?`) \| (`.*?`) \|", PAGE, re.M)
    assert {name for row in rows for name in re.findall(r"`(.*?)`", row[0])} == {
        kind.kind for kind in kinds
    }
    assert {name for row in rows for name in re.findall(r"`(.*?)`", row[1])} == {
        kind.__name__ for kind in kinds
    }
