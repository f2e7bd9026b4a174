"""The gates of `lmpipe eval`: `--fail-under`, `--baseline` and what they exit with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmpipe.cli.gates import GateOptions, gates
from lmpipe.report.comparison.scores import ScoreComparison, compare_rows
from lmpipe.report.records import TestRow

Cli = Callable[..., Any]
Write = Callable[[str, str], str]


def test_a_score_that_reaches_the_limit_passes(cli: Cli, compiled: str) -> None:
    result = cli("eval", compiled, "--trust", "--fail-under", "0.8")
    assert result.exit_code == 0
    assert "passed: --fail-under: " in result.stdout


def test_a_score_below_the_limit_fails_with_code_3(cli: Cli) -> None:
    result = cli("eval", "colours.py", "--fail-under", "0.99")
    assert result.exit_code == 3
    assert "not passed: --fail-under: " in result.stdout
    assert "is below 99.0%" in result.stdout


def test_a_program_that_is_worse_than_the_baseline_fails(cli: Cli, compiled: str) -> None:
    result = cli("eval", "colours.py", "--baseline", compiled)
    assert result.exit_code == 3
    assert "worse: the whole interval is below zero" in result.stdout


def test_a_run_is_not_worse_than_itself(cli: Cli, compiled: str) -> None:
    result = cli("eval", compiled, "--trust", "--baseline", compiled, "--max-drop", "0")
    assert result.exit_code == 0, result.output
    assert "+0.0 points (+0.0 to +0.0)" in result.stdout


def test_an_improvement_can_be_required(cli: Cli, compiled: str) -> None:
    same = ("--trust", "--baseline", compiled, "--require-improvement")
    assert cli("eval", compiled, *same).exit_code == 3


def test_the_rows_of_the_baseline_come_from_its_folder(
    cli: Cli, compiled: str, folder: Path
) -> None:
    lines = (folder / compiled / "scores.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row["score"] = 0.0
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / compiled / "scores.jsonl").write_text(text)
    result = cli("eval", "colours.py", "--baseline", compiled, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["baseline"]["before"]["score"] == 0.0
    assert found["passed"] is True


def test_a_baseline_without_rows_runs_too(cli: Cli, compiled: str, folder: Path) -> None:
    expected = json.loads(cli("eval", "colours.py", "--baseline", compiled, "--json").stdout)
    (folder / compiled / "scores.jsonl").write_text("")
    found = json.loads(cli("eval", "colours.py", "--baseline", compiled, "--json").stdout)
    assert found["baseline"] == expected["baseline"]
    assert found["baseline"]["before"]["score"] > 0.8


def test_a_baseline_is_scored_on_other_examples_too(cli: Cli, compiled: str, folder: Path) -> None:
    rows = [f'{{"thing": "sky number {n}", "colour": "blue"}}\n' for n in range(900, 906)]
    (folder / "own.jsonl").write_text("".join(rows))
    given = ("--trust", "--data", "own.jsonl", "--baseline", compiled, "--json")
    found = json.loads(cli("eval", compiled, *given).stdout)
    assert found["baseline"]["examples"] == 6
    assert found["baseline"]["difference"] == 0


def test_another_metric_scores_the_baseline_again(cli: Cli, compiled: str, write: Write) -> None:
    file = write("half.py", "recipe = recipe.replace(metric=lambda example, prediction: 0.5)")
    found = json.loads(cli("eval", file, "--baseline", compiled, "--json").stdout)
    assert found["baseline"]["before"]["score"] == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fail-under", "80"), "so 80 % is 0.8"),
        (("--max-drop", "0.1"), "--baseline RUN"),
        (("--require-improvement",), "--baseline RUN"),
        (("--baseline", "nowhere"), "nowhere"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    cli: Cli, options: tuple[str, ...], message: str
) -> None:
    result = cli("eval", "colours.py", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_gates_there_is_nothing_about_them(cli: Cli) -> None:
    assert not {"gates", "passed", "baseline"} & set(
        json.loads(cli("eval", "colours.py", "--json").stdout)
    )


def compared(differences: list[float]) -> ScoreComparison:
    def rows(scores: list[float]) -> list[TestRow]:
        return [
            TestRow(example={"n": n}, prediction=None, score=s, feedback="", failure=None)
            for n, s in enumerate(scores)
        ]

    after = [0.5 + difference for difference in differences]
    found = compare_rows(rows([0.5] * len(after)), rows(after), "test examples")
    assert found is not None
    return found


def test_a_drop_within_the_limit_passes_although_it_is_certain() -> None:
    found = compared([-0.01, -0.02] * 50)
    assert found.interval.high < 0
    assert gates(GateOptions(baseline=Path("run"), max_drop=0.02), 0.5, found)[0].passed
    assert not gates(GateOptions(baseline=Path("run")), 0.5, found)[0].passed


def test_too_few_rows_do_not_show_that_little_is_lost() -> None:
    found = compared([0.5, -0.5, 0.5, -0.5])
    assert not gates(GateOptions(baseline=Path("run"), max_drop=0.02), 0.5, found)[0].passed
    assert gates(GateOptions(baseline=Path("run")), 0.5, found)[0].passed


def test_a_trusted_baseline_is_run_by_its_own_file(
    cli: Cli, compiled: str, write: Write, folder: Path
) -> None:
    (folder / "other.jsonl").write_text('{"thing": "sky number 900", "colour": "blue"}\n')
    changed = write(
        "changed.py",
        """
recipe = recipe.replace(
    program=lmpipe.Predict("thing -> colour, why"),
    student=lmpipe.ScriptedLM(lambda _: "[[colour]]\\nblue\\n\\n[[why]]\\nso"),
)
""",
    )
    options = ("--data", "other.jsonl", "--baseline", compiled)
    assert cli("eval", changed, *options).exit_code == 2
    result = cli("eval", changed, *options, "--trust")
    assert result.exit_code == 0, result.output
