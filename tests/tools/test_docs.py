"""The examples of docs/tools.md run, and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.pages import examples_of, run_examples

import lmpipe
from lmpipe.lm.runtime import Runtime


def test_the_examples_print_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = examples_of("tools.md")
    monkeypatch.chdir(tmp_path)
    with lmpipe.using(runtime=Runtime()):
        run_examples(source, tmp_path)
    assert capsys.readouterr().out.splitlines() == re.findall(r"^# (.*)", source, re.M)
