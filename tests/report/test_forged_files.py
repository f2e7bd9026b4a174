"""Run folders that somebody tampered with: no markup of theirs reaches the page."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.html_page import without_own_scripts
from helpers.json_paths import paths
from helpers.one_compile import OneCompile
from helpers.world import recipe, things

import lmpipe
from lmpipe.compiling.run_folder import MANIFEST, PROGRAM
from lmpipe.errors import ArtifactError
from lmpipe.foundation.canonical_json import digest
from lmpipe.report import page as page_module
from lmpipe.report.page import write_report

HOSTILE = '"><script>alert(1)</script><img src=http://evil/x>'
TEMPLATES = Path(page_module.__file__).with_name("templates")


COMPILE = OneCompile(
    lambda: recipe(
        optimizer=lmpipe.RandomSearch(candidates=4, demos=6, bootstrapped=1),
        val=things(16, seed=1, start=100),
        test=things(8, seed=2, start=200),
        ablation=True,
    )
)


@pytest.fixture
def folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with demonstrations, failures, dropped candidates and a test."""
    return COMPILE.copy(tmp_path, tmp_path_factory).path


def is_clean(folder: Path) -> bool:
    """Whether the page holds none of the hostile markup, or is refused for a clear reason."""
    try:
        html = without_own_scripts(write_report(folder).read_text(encoding="utf-8"))
    except ArtifactError:
        return True
    return "<script" not in html and "<img" not in html


def forgeries(value: Any) -> Iterator[Any]:
    """Copies of a JSON value, each with one value or one key in it replaced."""
    for path in paths(value):
        forged = copy.deepcopy(value)
        *above, last = path
        place = forged
        for step in above:
            place = place[step]
        place[last] = HOSTILE
        yield forged
        if isinstance(last, str):
            forged = copy.deepcopy(forged)
            place = forged
            for step in above:
                place = place[step]
            del place[last]
            original = value
            for step in path:
                original = original[step]
            place[HOSTILE] = original
            yield forged


def all_texts(value: Any) -> Any:
    """Replace every text in a JSON value."""
    if isinstance(value, dict):
        return {key: all_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [all_texts(item) for item in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) else value


@pytest.mark.parametrize(
    "name", [MANIFEST, "candidates.jsonl", "scores.jsonl", "calls.jsonl", "events.jsonl"]
)
def test_no_forged_field_reaches_the_page_as_markup(folder: Path, name: str) -> None:
    file = folder / name
    whole = file.read_bytes()
    lines = [whole] if name == MANIFEST else whole.splitlines()
    try:
        # Lines are alike: the last ones hold the compiled program's.
        for number in {0, len(lines) - 1}:
            for forged in forgeries(orjson.loads(lines[number])):
                lines_now = [*lines[:number], orjson.dumps(forged), *lines[number + 1 :]]
                file.write_bytes(b"\n".join(lines_now) + b"\n")
                assert is_clean(folder), f"{name}: {forged}"
    finally:
        file.write_bytes(whole)


def test_no_forged_field_of_the_learned_state_reaches_the_page_as_markup(folder: Path) -> None:
    file = folder / PROGRAM
    whole = file.read_bytes()
    value = orjson.loads(whole)
    try:
        for forged in forgeries(value["state"]):
            stated = {**value, "state": forged, "hash": digest(forged)}
            file.write_bytes(orjson.dumps(stated))
            assert is_clean(folder), forged
    finally:
        file.write_bytes(whole)


def test_markup_in_every_text_at_once_is_shown_as_text(folder: Path) -> None:
    file = folder / MANIFEST
    whole = file.read_bytes()
    try:
        manifest = orjson.loads(whole)
        kept = {name: manifest[name] for name in ("status", "test", "best")}
        file.write_bytes(orjson.dumps({**all_texts(manifest), **kept}))
        html = without_own_scripts(write_report(folder).read_text(encoding="utf-8"))
    finally:
        file.write_bytes(whole)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_hostile_data_is_shown_as_text(tmp_path: Path) -> None:
    rows = [
        lmpipe.Example(thing=f"{HOSTILE} sky number {n}", colour=HOSTILE).with_inputs("thing")
        for n in range(6)
    ]
    run = lmpipe.compile(
        recipe(
            program=lmpipe.Predict("thing -> colour", instruction=HOSTILE),
            test=rows,
            name=HOSTILE.replace("/", ""),
            student=lmpipe.ScriptedLM(lambda request: f"## colour\n{HOSTILE}"),
        ),
        runs=tmp_path,
    )
    html = without_own_scripts(write_report(run.path).read_text(encoding="utf-8"))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("pattern", [r"\|\s*safe\b", r"\bautoescape\b", r"=\s*{{"])
def test_no_template_leaves_a_value_unescaped_or_an_attribute_unquoted(pattern: str) -> None:
    for file in TEMPLATES.glob("*.j2"):
        assert not re.search(pattern, file.read_text(encoding="utf-8")), file.name


def test_the_library_writes_no_markup_in_python() -> None:
    for file in TEMPLATES.parent.rglob("*.py"):
        source = file.read_text(encoding="utf-8")
        assert "Markup" not in source, file.name
        assert "</" not in source, file.name
