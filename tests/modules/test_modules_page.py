"""The examples of the page about modules run."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.filler import fill

import lmpipe

PAGE = Path(__file__).parents[2] / "docs" / "modules.md"


def test_the_examples_run_one_after_the_other(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S))
    file = tmp_path / "modules_page.py"
    file.write_text(source, encoding="utf-8")
    scripted = lmpipe.ScriptedLM(fill)
    with lmpipe.using(lm=scripted):
        exec(compile(source, str(file), "exec", dont_inherit=True), {"__name__": "page"})
    assert len(scripted.requests) > 10


def test_the_page_names_what_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in set(re.findall(r"\blmpipe\.(\w+)", text)):
        assert hasattr(lmpipe, name), name
