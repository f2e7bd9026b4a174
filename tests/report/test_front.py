"""The front of score against tokens, on the page and in the terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.world import answer, recipe, student
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app
from lmpipe.lm.request import Reply
from lmpipe.report.front import front_of
from lmpipe.report.page import write_report
from lmpipe.report.records import Validated

CHART = 'aria-label="Validation score against tokens per run"'


def scored(number: int, score: float, tokens: float | None, *, complete: bool = True) -> Validated:
    return Validated(
        number=number,
        name=f"candidate {number}",
        score=score,
        interval=(score, score),
        examples=10,
        complete=complete,
        of=10,
        run_tokens=tokens,
    )


def numbers(*candidates: Validated) -> list[int]:
    return [item.number for item in front_of(candidates)]


def test_the_front_has_what_none_beats_for_as_many_tokens_or_fewer() -> None:
    found = numbers(
        scored(0, 0.5, 300),
        scored(1, 0.4, 100),
        scored(2, 0.5, 200),
        scored(3, 0.3, 150),
        scored(4, 0.9, 400),
    )
    assert found == [1, 2, 4]


def test_of_equal_tokens_the_better_score_is_on_the_front() -> None:
    assert numbers(scored(0, 0.4, 100), scored(1, 0.5, 100), scored(2, 0.6, 200)) == [1, 2]


def test_dropped_candidates_are_not_compared() -> None:
    assert numbers(
        scored(0, 0.9, 10, complete=False), scored(1, 0.4, 100), scored(2, 0.6, 200)
    ) == [1, 2]


@pytest.mark.parametrize("tokens", [100, None])
def test_there_is_no_front_if_tokens_do_not_differ_or_are_unknown(tokens: float | None) -> None:
    assert numbers(scored(0, 0.4, tokens), scored(1, 0.6, tokens)) == []


@pytest.fixture
def run(tmp_path: Path) -> lmpipe.Run:
    made = recipe(
        student=student(price=(1, 2)),
        optimizer=lmpipe.RandomSearch(candidates=4, demos=6, bootstrapped=0),
        racing=None,
        objectives={"tokens": -0.5},
    )
    return lmpipe.compile(made, runs=tmp_path)


def test_the_page_draws_every_candidate_and_rings_the_winner(run: lmpipe.Run) -> None:
    html = write_report(run.path).read_text(encoding="utf-8")
    chart = html.partition(CHART)[2].partition("</svg>")[0]
    titles = re.findall(r"<title>(.*): [\d.]+% with (\d+) tokens per run</title>", chart)
    assert sorted(titles) == sorted(
        (item.name, f"{item.run_tokens:.0f}") for item in run.candidates
    )
    ring = chart.index('class="ring"')
    assert chart[ring:].partition("<title>")[2].startswith(f"{run.best.name}: ")
    assert chart.count('class="ring"') == 1
    assert "compared by score 1, tokens -0.5 per 1,000 of a run" in html


def test_an_lm_whose_tokens_are_not_counted_has_no_chart(tmp_path: Path) -> None:
    uncounted = lmpipe.ScriptedLM(lambda request: Reply(answer(request)))
    run = lmpipe.compile(recipe(student=uncounted), runs=tmp_path)
    assert CHART not in write_report(run.path).read_text(encoding="utf-8")


def test_show_prints_the_front_with_costs_and_weighted_scores(run: lmpipe.Run) -> None:
    shown = CliRunner().invoke(app, ["show", str(run.path)])
    assert shown.exit_code == 0, shown.output
    assert "objectives: score 1, tokens -0.5 per 1,000 of a run" in shown.output
    assert "with costs weighed" in shown.output
    best = run.best
    usd = 1000 * (best.run_usd or 0)
    (line,) = [line for line in shown.output.splitlines() if re.match(rf"{best.number} +\S", line)]
    cells = re.split(r"  +", line.strip())
    assert cells == [
        str(best.number),
        best.name,
        f"{100 * best.score:.1f}%",
        f"{best.run_tokens:.0f}",
        f"${usd:.4f}",
        f"{100 * best.weighted_score:.1f}",
    ]
