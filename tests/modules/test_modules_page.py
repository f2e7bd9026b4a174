"""The examples of the page about modules run."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.filler import fill
from helpers.pages import examples_of, read_page, run_examples

import lmpipe


def test_the_examples_run_one_after_the_other(tmp_path: Path) -> None:
    scripted = lmpipe.ScriptedLM(fill)
    with lmpipe.using(lm=scripted):
        run_examples(examples_of("modules.md"), tmp_path)
    assert len(scripted.requests) > 10


def test_the_page_names_what_exists() -> None:
    for name in set(re.findall(r"\blmpipe\.(\w+)", read_page("modules.md"))):
        assert hasattr(lmpipe, name), name
