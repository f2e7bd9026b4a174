"""`lmpipe compare` and `lmpipe diff`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
Write = Callable[[str, str], str]

# Reverses the order of what it fills in, and asks for something else.
OTHER = """
import dataclasses
recipe = recipe.replace(optimizer=lmpipe.LabeledFewShot(demos=3), seed=5)
"""


@pytest.fixture
def other(cli: Cli, compiled: str, write: Write) -> str:
    """Another compile of the same program."""
    cli("compile", write("colours.py", OTHER), "--runs", "others")
    return str(next(Path("others").iterdir()))


def compared(cli: Cli, *arguments: str) -> dict[str, Any]:
    result = cli("compare", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_scores_of_two_runs_come_from_their_folders(
    cli: Cli, compiled: str, other: str, folder: Path
) -> None:
    (folder / "colours.py").unlink()
    scores = compared(cli, compiled, other)["scores"]
    runs = {json.loads(line)["folder"]: json.loads(line) for line in _runs(cli)}
    assert scores["before"]["score"] == runs[compiled]["compiled"]
    assert scores["after"]["score"] == runs[other]["compiled"]
    assert (scores["examples"], scores["of"]) == (40, "test examples")
    assert scores["better"] + scores["worse"] + scores["same"] == 40


def _runs(cli: Cli) -> list[str]:
    return [
        line
        for f in ("runs", "others")
        for line in cli("runs", f, "--json").stdout.split("\n")
        if line
    ]


def test_the_terminal_has_the_interval_the_rows_and_what_differs(
    cli: Cli, compiled: str, other: str
) -> None:
    out = cli("compare", compiled, other, "--rows", "1").stdout
    for text in ("paired 95 % interval", "unchanged", "labeled: demos=3", "demonstrations: "):
        assert text in out
    assert out.count("\nworse: ") + out.count("\nbetter: ") <= 2


def test_without_scores_in_common_the_program_has_to_be_named(
    cli: Cli, compiled: str, other: str
) -> None:
    for run in (compiled, other):
        (Path(run) / "scores.jsonl").write_text("")
    found = compared(cli, compiled, other)
    assert found["scores"] is None
    assert "--program FILE (or --trust) scores both again" in found["notes"][0]


def test_scores_are_made_again_from_the_cache(cli: Cli, compiled: str, other: str) -> None:
    expected = compared(cli, compiled, other)["scores"]
    for run in (compiled, other):
        (Path(run) / "scores.jsonl").write_text("")
    assert compared(cli, compiled, other, "--trust")["scores"] == expected


@pytest.fixture
def unseen(folder: Path) -> str:
    rows = [f'{{"thing": "sky number {n}", "colour": "blue"}}\n' for n in range(900, 906)]
    (folder / "unseen.jsonl").write_text("".join(rows))
    return "unseen.jsonl"


def test_calls_that_are_not_in_the_cache_are_counted_and_not_made(
    cli: Cli, compiled: str, other: str, unseen: str
) -> None:
    found = compared(cli, compiled, other, "--trust", "--data", unseen)
    assert found["scores"] is None
    assert f"{compiled}: 6 examples, at most " in found["notes"][0]
    assert "--run makes these calls" in found["notes"][0]


def test_run_makes_them(cli: Cli, compiled: str, other: str, unseen: str) -> None:
    found = compared(cli, compiled, other, "--trust", "--data", unseen, "--run")
    assert (found["scores"]["examples"], found["scores"]["of"]) == (6, "examples of unseen.jsonl")
    again = compared(cli, compiled, other, "--trust", "--data", unseen)
    assert again["scores"] == found["scores"]


def test_a_budget_makes_as_many_as_it_allows(
    cli: Cli, compiled: str, other: str, unseen: str
) -> None:
    found = compared(cli, compiled, other, "--trust", "--data", unseen, "--budget", "calls=9")
    # A run takes two calls at most, and one where the first reply can be read.
    assert 2 <= found["scores"]["examples"] < 6
    assert found["scores"]["unpaired"] == [0, 0]
    assert "not in the cache" in found["notes"][0]
    nothing = compared(cli, compiled, other, "--trust", "--data", unseen, "--budget", "calls=1")
    assert nothing["scores"]["examples"] == found["scores"]["examples"]


def test_a_program_is_compared_as_declared(cli: Cli, compiled: str) -> None:
    found = compared(cli, "colours.py", compiled)
    assert found["before"] == "colours.py"
    assert found["scores"]["after"]["score"] > found["scores"]["before"]["score"]
    assert found["predictors"]["self"]["demos"]["new"]


def test_runs_with_other_metrics_are_not_compared_by_their_folders(
    cli: Cli, compiled: str, write: Write
) -> None:
    metric = "recipe = recipe.replace(metric=lambda example, prediction: 0.5)"
    cli("compile", write("colours.py", metric), "--runs", "others")
    found = compared(cli, compiled, str(next(Path("others").iterdir())))
    assert found["scores"] is None
    assert "they were scored by different metrics" in found["notes"][0]


# The score is what the judge says.
JUDGED = """
grade = lmpipe.Predict("thing -> good: bool")

@lmpipe.metrics.judge(max_calls=2)
async def metric(example, prediction):
    return (await grade.acall(thing=example.thing)).good
"""


def test_scores_that_are_made_again_have_one_judge(
    cli: Cli, compiled: str, write: Write, unseen: str
) -> None:
    for name, says in (("kind", "true"), ("stern", "false")):
        judge = f'lmpipe.ScriptedLM(lambda _: "{says}", name="{name}")'
        write(f"{name}.py", f"{JUDGED}\nrecipe = recipe.replace(metric=metric, judge={judge})")
    kind = compared(cli, "kind.py", "stern.py", "--data", unseen, "--run")["scores"]
    stern = compared(cli, "stern.py", "kind.py", "--data", unseen, "--run")["scores"]
    assert (kind["before"]["score"], kind["after"]["score"]) == (1.0, 1.0)
    assert (stern["before"]["score"], stern["after"]["score"]) == (0.0, 0.0)


# Another signature, which the state of the compile does not fit.
CHANGED = """
recipe = recipe.replace(
    program=lmpipe.Predict("thing -> colour, why"),
    student=lmpipe.ScriptedLM(lambda _: "[[colour]]\\nred\\n\\n[[why]]\\nso"),
)
"""


def test_a_trusted_run_is_run_by_its_own_file(cli: Cli, compiled: str, write: Write) -> None:
    changed = write("changed.py", CHANGED)
    refused = cli("compare", changed, compiled, "--run")
    assert (refused.exit_code, "another signature" in refused.stderr) == (2, True)
    scores = compared(cli, changed, compiled, "--run", "--trust")["scores"]
    assert scores["after"]["score"] > scores["before"]["score"]


def test_a_program_without_test_examples_is_scored_on_the_validation(
    cli: Cli, compiled: str, write: Write
) -> None:
    untested = write("untested.py", "recipe = recipe.replace(test=None)")
    found = compared(cli, untested, compiled, "--run")
    assert found["scores"]["of"] == "validation examples"
    assert "the validation examples also chose" in found["notes"][0]


def test_what_is_no_run_is_named(cli: Cli, compiled: str) -> None:
    result = cli("compare", compiled, "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_diff_has_the_state_and_the_settings_alone(cli: Cli, compiled: str, other: str) -> None:
    out = cli("diff", compiled, other).stdout
    assert "demonstrations: " in out
    assert "labeled: demos=3" in out
    assert "95 %" not in out
    found = json.loads(cli("diff", compiled, other, "--json").stdout)
    assert set(found) == {"before", "after", "settings", "ensemble", "predictors"}


def test_a_run_does_not_differ_from_itself(cli: Cli, compiled: str) -> None:
    out = cli("diff", compiled, compiled).stdout
    assert "both were made in the same way" in out
    assert "the learned states are the same" in out


def test_report_draws_several_runs_on_one_page(
    cli: Cli, compiled: str, other: str, folder: Path
) -> None:
    assert cli("report", compiled, other).stdout.strip() == str(folder / "runs/comparison.html")
    assert cli("report", compiled, other, "--out", "both.html").stdout == "both.html\n"
    assert Path(compiled).name in Path("both.html").read_text(encoding="utf-8")


def test_the_page_of_several_is_not_written_over_a_program(
    cli: Cli, compiled: str, other: str, folder: Path
) -> None:
    result = cli("report", compiled, other, "--out", "colours.py")
    assert (result.exit_code, "ends in .html" in result.stderr) == (2, True)
    assert "lmpipe" in (folder / "colours.py").read_text()


def test_the_page_of_one_run_has_its_place(cli: Cli, compiled: str) -> None:
    assert cli("report", compiled).stdout == f"{compiled}/report.html\n"
    result = cli("report", compiled, "--out", "one.html")
    assert (result.exit_code, "several" in result.stderr) == (2, True)
