"""What did it: in words, in the table of the terminal, and on the page."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.html_page import Page
from helpers.one_compile import OneCompile
from helpers.world import recipe, things
from rich.console import Console

import lmpipe
from lmpipe.report.ablation import ablation_line, ablation_notes
from lmpipe.report.page import write_report
from lmpipe.report.records import Ablation
from lmpipe.report.terminal import print_ablation
from lmpipe.report.text import NOTHING, signed_count


def effect(difference: float, margin: float, **changes: Any) -> dict[str, Any]:
    interval = [difference - margin, difference + margin]
    found = {"score": 0.5, "difference": difference, "interval": interval}
    return {**found, "prompt_tokens": 0.0, "examples": 40, **changes}


def ablation(*parts: tuple[str, float, float], **changes: Any) -> Ablation:
    """Make an ablation of parts, given by name, difference and half the width of the interval."""
    made = [
        {"name": name, "learned": "json", "without": effect(difference, margin)}
        for name, difference, margin in parts
    ]
    return Ablation.model_validate({"score": 0.9, "parts": made, **changes})


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (
            [("layout", 0.01, 0.02), ("demonstrations", 0.7, 0.1), ("constrained", 0.18, 0.1)],
            "demonstrations +70.0, constrained +18.0 points; not certain: layout +1.0",
        ),
        ([("layout", 0.0, 0.1)], "no single part for certain; can be left out: layout +0.0"),
        ([("layout", -0.2, 0.1)], "no single part for certain; better without it: layout -20.0"),
    ],
)
def test_one_sentence_says_what_did_it(parts: list[Any], line: str) -> None:
    assert ablation_line(ablation(*parts)) == line


def test_a_result_that_was_not_taken_apart_says_why() -> None:
    assert ablation_line(ablation(incomplete="the budget is used up")) == (
        "not known: the budget is used up"
    )


def test_what_is_missing_is_in_the_notes() -> None:
    found = ablation(("layout", 0.1, 0.2), incomplete="the budget allowed 9 of 16 examples")
    assert ablation_notes(found)[-1] == "The budget allowed 9 of 16 examples."


def test_the_sum_of_several_parts_is_explained() -> None:
    one, two = ablation(("a", 0.1, 0.2)), ablation(("a", 0.1, 0.2), ("b", 0.1, 0.2))
    assert len(ablation_notes(two)) == len(ablation_notes(one)) + 1


def test_where_costs_are_weighed_the_weighted_scores_say_what_did_it() -> None:
    shorter = effect(0.0, 0.1, weighted={"difference": 0.2, "interval": [0.1, 0.3]})
    found = Ablation.model_validate(
        {"score": 0.9, "parts": [{"name": "layout", "learned": "json", "without": shorter}]}
    )
    assert ablation_line(found) == "layout +20.0 points with costs weighed"
    assert "layout (json) 50.0% +0.0 (-10.0 to +10.0) +20.0 (+10.0 to +30.0) 0 needed" in printed(
        found
    )
    assert any("weighted scores" in note for note in ablation_notes(found))


def printed(found: Ablation) -> list[str]:
    file = io.StringIO()
    print_ablation(Console(file=file, width=200), found)
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_the_terminal_has_a_row_for_each_part() -> None:
    lines = printed(ablation(("layout", 0.1, 0.2)))
    assert lines[1] == "part without it it adds prompt tokens"
    assert "layout (json) 50.0% +10.0 (-10.0 to +30.0) 0 not certain" in lines


def test_parts_alone_have_a_column_if_one_was_tried() -> None:
    part = {"name": "layout", "learned": "json", "without": effect(0.1, 0.2)}
    other = {**part, "name": "vote", "alone": None}
    both = [{**part, "alone": effect(0.3, 0.1, prompt_tokens=50.0)}, other]
    lines = printed(Ablation.model_validate({"score": 0.9, "parts": both}))
    assert (
        "layout (json) 50.0% +10.0 (-10.0 to +30.0) +30.0 (+20.0 to +40.0) 0 not certain" in lines
    )
    assert any(
        line.startswith(f"vote (json) 50.0% +10.0 (-10.0 to +30.0) {NOTHING}") for line in lines
    )


@pytest.mark.parametrize(
    ("number", "text"), [(1234.4, "+1,234"), (-18.0, "-18"), (0.4, "0"), (-0.4, "0")]
)
def test_prompt_tokens_are_whole_and_signed(number: float, text: str) -> None:
    assert signed_count(number) == text


COMPILE = OneCompile(
    lambda: recipe(
        ablation=True,
        train=things(12),
        val=things(16, seed=1, start=100),
        test=things(8, seed=2, start=200),
        optimizer=lmpipe.LabeledFewShot(demos=6),
    )
)


@pytest.fixture
def run(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    return COMPILE.copy(tmp_path, tmp_path_factory)


def test_the_page_shows_each_part_in_table_and_chart(run: lmpipe.Run) -> None:
    html = write_report(run.path).read_text(encoding="utf-8")
    assert run.ablation is not None
    rows = Page(html).tables["What each part adds"][1:]
    assert [row[0] for row in rows] == [f"{p.name} {p.learned}" for p in run.ablation.parts]
    for part in run.ablation.parts:
        assert f'text-anchor="end">{part.name}</text>' in html
        assert f"{100 * part.without.difference:+.1f}</text>" in html


def test_the_page_of_a_compile_without_ablation_has_no_section_of_it(run: lmpipe.Run) -> None:
    file = run.path / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["ablation"]  # as older versions wrote it
    file.write_text(json.dumps(manifest))
    assert "What did it" not in write_report(run.path).read_text(encoding="utf-8")


def test_the_page_says_why_a_result_was_not_taken_apart(run: lmpipe.Run) -> None:
    file = run.path / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["ablation"] = {"score": 0.5, "parts": [], "incomplete": "the budget is used up"}
    file.write_text(json.dumps(manifest))
    html = write_report(run.path).read_text(encoding="utf-8")
    assert "Not known: the budget is used up." in html
    assert "What each part adds" not in html
