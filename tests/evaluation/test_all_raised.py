"""A program that cannot run at all stops a compile; bad replies do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.world import NameColour, recipe

import lmpipe
from lmpipe.errors import RecipeError
from lmpipe.lm.request import Request


class Broken(lmpipe.Module):
    """Raises on every row, or on some."""

    def __init__(self, *, only: str = "") -> None:
        self.only = only
        self.ask = lmpipe.Predict(NameColour)

    def forward(self, thing: str) -> Any:
        colour = self.ask(thing=thing)
        if self.only in thing:
            raise ZeroDivisionError("the broken line")
        return colour


def test_a_program_that_raises_on_every_row_stops_the_compile_with_the_first_error(
    tmp_path: Path,
) -> None:
    said = r"failed in each of \d+ runs.*ZeroDivisionError: the broken line at .*\.py:\d+"
    student = lmpipe.ScriptedLM(lambda request: "## colour\nred")
    with pytest.raises(RecipeError, match=said):
        lmpipe.compile(recipe(program=Broken(), student=student), runs=tmp_path)


def test_a_program_that_raises_wherever_it_gets_a_readable_reply_stops_the_compile(
    tmp_path: Path,
) -> None:
    def sometimes(request: Request) -> str:
        asked = "".join(message.content for message in request.messages)
        return "{" if "sky" in asked else "## colour\nred"

    said = r"each of \d+ runs \(\d+ of them for an LM's reply\).*ZeroDivisionError: the broken line"
    with pytest.raises(RecipeError, match=said):
        lmpipe.compile(
            recipe(program=Broken(), student=lmpipe.ScriptedLM(sometimes)), runs=tmp_path
        )


def test_a_program_that_raises_on_some_rows_is_compiled(tmp_path: Path) -> None:
    student = lmpipe.ScriptedLM(lambda request: "## colour\nred")
    run = lmpipe.compile(recipe(program=Broken(only="sky"), student=student), runs=tmp_path)
    assert run.best.evaluation.failures["program"] > 0


def test_an_lm_whose_replies_are_all_unreadable_does_not_stop_the_compile(tmp_path: Path) -> None:
    # Demonstrations or another layout may mend them.
    def needs_demos(request: Request) -> str:
        return "## colour\nred" if len(request.messages) > 4 else "{"

    optimizer = lmpipe.LabeledFewShot(demos=4)
    run = lmpipe.compile(
        recipe(student=lmpipe.ScriptedLM(needs_demos), optimizer=optimizer), runs=tmp_path
    )
    assert run.candidates[0].score == 0
    assert run.best.score > 0


def test_a_teacher_program_that_raises_on_every_example_stops_the_compile(tmp_path: Path) -> None:
    class Program(Broken):
        def forward(self, thing: str) -> Any:
            return self.ask(thing=thing)

    with pytest.raises(RecipeError, match="the teacher program failed in each of 16 runs"):
        lmpipe.compile(
            recipe(
                program=Program(),
                teacher_program=Broken(),
                student=lmpipe.ScriptedLM(lambda request: "## colour\nred"),
                optimizer=lmpipe.BootstrapFewShot(),
            ),
            runs=tmp_path,
        )
