"""What pages and commands say of trained weights."""

from __future__ import annotations

from pathlib import Path

from helpers.trainer import ScriptedTrainer
from helpers.world import answer_trained, recipe
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app
from lmpipe.report import write_report


def test_show_and_the_page_tell_of_them(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(),
    )
    run = lmpipe.compile(made, runs=tmp_path)
    told = "a LoRA adapter for scripted/scripted, from 40 rows, loss 2.00 to 1.00, 1.50 on rows"
    assert told in CliRunner().invoke(app, ["show", str(run.path)]).stdout
    assert told in write_report(run.path).read_text(encoding="utf-8")
