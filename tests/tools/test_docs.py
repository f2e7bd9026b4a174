"""The examples of docs/tools.md run, and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lmpipe
from lmpipe.lm.runtime import Runtime

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"


def test_the_examples_print_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S))
    file = tmp_path / "example.py"
    file.write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with lmpipe.using(runtime=Runtime()):
        exec(compile(source, str(file), "exec", dont_inherit=True), {"__name__": "example"})
    assert capsys.readouterr().out.splitlines() == re.findall(r"^# (.*)", source, re.M)
