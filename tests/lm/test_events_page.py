"""docs/events.md: its examples run and print what it says, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import lmpipe
from lmpipe.lm.events import AnyEvent
from lmpipe.lm.observing import listening

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


def test_the_examples_print_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    source = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S))
    (printed,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
    lm = lmpipe.ScriptedLM(lambda request: "[[summary]]\nIt is long.")
    with lmpipe.using(lm=lm):
        exec(compile(source, "events.md", "exec", dont_inherit=True), {"__name__": "example"})
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
