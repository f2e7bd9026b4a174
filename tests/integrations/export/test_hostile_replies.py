"""The exported readers take time in proportion to a reply's length, whatever the LM writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

import lmpipe
from lmpipe.integrations.dspy import from_dspy
from lmpipe.integrations.export.parity import node_command, python_command
from lmpipe.integrations.export.write_files import export_prompts

# With time that grows with the square of the length, one of these would take minutes.
LENGTH = 50_000
MOST_SECONDS = 100


class Program(lmpipe.Module):
    """Predictors of every layout whose replies are read by a regular expression or as words."""

    def __init__(self) -> None:
        fields = "ask -> team: Literal['billing', 'shipping'], answer: str"
        self.several = {
            name: lmpipe.Predict(fields, layout=name) for name in ("chat", "xml", "plain", "json")
        }
        kinds = {"text": "str", "number": "float", "choice": "Literal['a', 'b'] | None"}
        self.one = {
            name: lmpipe.Predict(f"ask -> answer: {kind}", layout="plain")
            for name, kind in kinds.items()
        }


MARKS = {
    "chat": ("[[team]]", "[[answer]]"),
    "xml": ("<team>", "</team>", "<answer>"),
    "plain": ("Team:", "**Answer**:", "**answer:**", "**answer"),
    "dspy": ("[[ ## team ## ]]", "[[ ## answer ## ]]"),
    "json": ("{", "}"),
}
FILLERS = (" ", "\n", " \n", "\u2003", "\\", "*", ":", ".", "-", "7", "\n```", "\n\\", ": ", "* ")


def hostile(marks: tuple[str, ...]) -> list[str]:
    """Long replies that almost are what the reader looks for."""
    found = []
    for filler in FILLERS:
        long = filler * (LENGTH // len(filler))
        found += [long, f"x{long}x"]
        for mark in marks:
            found += [f"{long}{mark}x", f"{mark}{long}x", f"{mark}\na\n{marks[-1]}{long}{mark}x"]
    return found


def exported(folder: Path, form: Any) -> dict[str, str]:
    """Export the predictors; return the marks of each one's replies, by its file."""
    programs: list[Any] = [
        Program(),
        from_dspy(dspy.Predict("ask -> team: Literal['billing', 'shipping'], answer: str")),
    ]
    with lmpipe.using(lm=lmpipe.ScriptedLM([])):
        for program in programs:
            export_prompts(program, folder, form, calls=None)
    layouts = {file.name: json.loads(file.read_text())["layout"] for file in folder.glob("*.json")}
    return {name: layout.removesuffix("-chat") for name, layout in layouts.items()}


@pytest.mark.parametrize("form", ["messages", "typescript"])
def test_a_long_reply_is_read_or_refused_in_linear_time(form: str, tmp_path: Path) -> None:
    if form == "typescript" and shutil.which("node") is None:
        pytest.skip("needs Node")
    command: Callable[[], list[str]] = python_command if form == "messages" else node_command
    jobs = [
        {"file": file, "reply": {"content": text}}
        for file, layout in exported(tmp_path, form).items()
        for text in hostile(MARKS[layout])
    ]
    assert len(jobs) > 1000
    done = subprocess.run(
        [*command(), str(tmp_path)],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=True,
        timeout=MOST_SECONDS,
    )
    assert len(json.loads(done.stdout)) == len(jobs)
