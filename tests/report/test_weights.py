"""How trained weights are described on pages and by commands."""

from __future__ import annotations

import html
import re
from pathlib import Path

from helpers.trainer import ScriptedTrainer
from helpers.world import answer_trained, recipe, recipe_of_all_weights
from typer.testing import CliRunner

import lmpipe
from lmpipe.cli import app
from lmpipe.report.page import write_report
from lmpipe.report.text import weights_line


def descriptions(made: lmpipe.Recipe, tmp_path: Path) -> tuple[lmpipe.Run, str, str]:
    """A run, the output of `lmpipe show`, and its page."""
    run = lmpipe.compile(made, runs=tmp_path / "runs")
    shown = CliRunner().invoke(app, ["show", str(run.path)]).stdout
    return run, shown, write_report(run.path).read_text(encoding="utf-8")


def test_show_and_the_page_describe_an_adapter(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(),
    )
    _, shown, page = descriptions(made, tmp_path)
    line = "a LoRA adapter for scripted/scripted, on 40 rows, loss 2.00 to 1.00, 1.50 on held-out"
    assert line in shown
    assert line in page


def test_show_and_the_page_say_how_rows_were_chosen(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(rows=12, select="need"),
        trainer=ScriptedTrainer(),
    )
    _, shown, page = descriptions(made, tmp_path)
    line = r"on 12 of 40 rows, chosen by 'need' \(4\d LM calls\), loss 2\.00 to 1\.00"
    assert re.search(line, shown)
    assert re.search(line, html.unescape(page))


def test_show_and_the_page_describe_a_providers_model(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(model="ft:colours:1"),
    )
    _, shown, page = descriptions(made, tmp_path)
    line = "a provider's model, trained from scripted, on 40 rows, loss 2.00 to 1.00"
    assert f"scripted/ft:colours:1, {line}" in shown
    assert line in html.unescape(page)


def test_show_and_the_page_describe_all_weights(tmp_path: Path) -> None:
    full = recipe_of_all_weights(tmp_path / "model")
    run, shown, page = descriptions(full, tmp_path)
    base = full.servers[0].model
    line = f"{run.state['self'].lm}, all weights, trained from {base}, on 8 rows, loss 2.00 to"
    assert line in shown
    assert line in page


def test_an_lm_that_was_not_trained_has_no_weights_to_describe() -> None:
    assert weights_line(None, "openai/gpt-small", None) is None
