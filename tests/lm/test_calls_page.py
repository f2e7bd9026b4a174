"""docs/calls.md: its examples run, and its table of events is complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import lmpipe
from lmpipe.lm.stream_events import StreamEvent

PAGE = (Path(__file__).parents[2] / "docs" / "calls.md").read_text(encoding="utf-8")


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    lm = lmpipe.ScriptedLM(lambda request: "[[summary]]\nIt is long.")
    with lmpipe.using(lm=lm):
        source = compile("\n".join(blocks), "calls.md", "exec", dont_inherit=True)
        exec(source, {"__name__": "example", "lm": lm})
    said = capsys.readouterr().out
    assert "asks scripted/scripted" in said
    assert "scripted/scripted: 2 calls" in said


def test_the_table_has_every_kind_of_event() -> None:
    described = set(re.findall(r"^\| `([a-z ]+)` \|", PAGE, re.M))
    assert described == {kind.kind for kind in get_args(StreamEvent)}
