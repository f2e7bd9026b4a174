"""Compiles that train weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.trainer import ScriptedTrainer
from helpers.world import answer_trained, recipe, recipe_of_all_weights

import lmpipe


@pytest.fixture
def trained(tmp_path: Path) -> lmpipe.Run:
    """A compile whose result has a trained adapter."""
    made = recipe(
        student=lmpipe.ScriptedLM(answer_trained),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(),
    )
    run = lmpipe.compile(made, runs=tmp_path / "runs")
    assert run.state["self"].adapter is not None
    return run


@pytest.fixture
def full(tmp_path: Path) -> lmpipe.Recipe:
    """A recipe that trains full weights."""
    return recipe_of_all_weights(tmp_path / "model")
