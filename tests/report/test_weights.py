"""What pages and commands say of trained weights."""

from __future__ import annotations

import html
from pathlib import Path

from helpers.trainer import ScriptedTrainer
from helpers.world import answer_trained, recipe, recipe_of_all_weights
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app
from lmpipe.report import write_report
from lmpipe.report.text import weights_line


def told_of(made: lmpipe.Recipe, tmp_path: Path) -> tuple[lmpipe.Run, str, str]:
    """A run, what `show` says of it, and its page."""
    run = lmpipe.compile(made, runs=tmp_path / "runs")
    shown = CliRunner().invoke(app, ["show", str(run.path)]).stdout
    return run, shown, write_report(run.path).read_text(encoding="utf-8")


def test_show_and_the_page_tell_of_an_adapter(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(),
    )
    _, shown, page = told_of(made, tmp_path)
    told = "a LoRA adapter for scripted/scripted, from 40 rows, loss 2.00 to 1.00, 1.50 on rows"
    assert told in shown
    assert told in page


def test_show_and_the_page_tell_of_a_providers_model(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(model="ft:colours:1"),
    )
    _, shown, page = told_of(made, tmp_path)
    told = "a provider's model that began as scripted, from 40 rows, loss 2.00 to 1.00"
    assert f"scripted/ft:colours:1, {told}" in shown
    assert html.escape(told) in page


def test_show_and_the_page_tell_of_all_weights(tmp_path: Path) -> None:
    full = recipe_of_all_weights(tmp_path / "model")
    run, shown, page = told_of(full, tmp_path)
    base = full.servers[0].model
    told = f"{run.state['self'].lm}, all weights that began as {base}, from 8 rows, loss 2.00 to"
    assert told in shown
    assert told in page


def test_an_lm_that_was_not_trained_has_no_weights_to_tell_of() -> None:
    assert weights_line(None, "openai/gpt-small", None) is None
