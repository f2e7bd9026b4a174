"""`lmpipe compile --from-feedback`: a compile learns from what users said of served answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.serve_command import serving

from lmpipe.monitoring.answers import ServedAnswer
from lmpipe.monitoring.feedback import FeedbackFolder

Cli = Callable[..., Any]


def give(
    folder: Path,
    thing: str,
    colour: str,
    *,
    score: float = 1.0,
    program: str = "colours",
    name: str = "thing",
) -> None:
    answer = ServedAnswer(thing, program, "run-a", {name: thing}, {"colour": colour})
    with closing(FeedbackFolder(folder)) as opened:
        opened.answers.add(answer)
        opened.give(answer, score=score, correction={})


def test_feedback_is_training_data(cli: Cli, folder: Path) -> None:
    for number in range(5):
        give(folder / "said", f"sky number {900 + number}", "blue")
    plain = json.loads(cli("compile", "colours.py", "--dry-run", "--json").stdout)
    more = json.loads(
        cli("compile", "colours.py", "--dry-run", "--json", "--from-feedback", "said").stdout
    )
    assert more["data"]["train"] == plain["data"]["train"] + 5


def test_feedback_without_a_label_is_refused(cli: Cli, folder: Path) -> None:
    give(folder / "said", "sky number 900", "blue", score=0.0)
    result = cli("compile", "colours.py", "--from-feedback", "said")
    assert result.exit_code == 2
    assert "no row to learn from" in result.stderr


def test_one_of_several_programs_can_be_named(cli: Cli, folder: Path) -> None:
    give(folder / "said", "sky number 900", "blue")
    give(folder / "said", "what is it?", "blue", program="other", name="question")
    asked = ("compile", "colours.py", "--dry-run", "--json", "--from-feedback")
    assert "NAME=PATH" in cli(*asked, "said").stderr
    assert cli(*asked, "colours=said").exit_code == 0
    assert "answers to question" in cli(*asked, "other=said").stderr
    (folder / "said").rename(folder / "a=b")
    assert "a=b" in cli(*asked, "a=b").stderr
    assert cli(*asked, "colours=a=b").exit_code == 0


def test_a_missing_folder_is_refused(cli: Cli) -> None:
    result = cli("compile", "colours.py", "--from-feedback", "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


@pytest.mark.parametrize("variable", [True, False])
def test_the_command_keeps_answers_and_their_feedback(
    compiled: str, folder: Path, variable: bool
) -> None:
    option = () if variable else ("--feedback", "said")
    env = {"LMPIPE_FEEDBACK": "said"} if variable else {}
    with serving(folder, compiled, "--trust", *option, **env) as (_, url):
        asked = httpx.post(f"{url}/v1/programs/colours", json={"thing": "grass number 3"})
        body = {"id": asked.headers["x-request-id"], "correction": "blue"}
        assert httpx.post(f"{url}/feedback", json=body).status_code == 201
    (line,) = (folder / "said" / "feedback.jsonl").read_text().splitlines()
    assert json.loads(line)["correction"] == {"colour": "blue"}
