"""A student is trained on the runs of a teacher that came to the right answers."""

from __future__ import annotations

from pathlib import Path

from helpers.trainer import ScriptedTrainer
from helpers.world_reader import read_world

import lmpipe
from lmpipe.lm.request import Request
from programs import multi_hop_weights


def student(request: Request) -> str:
    """Read the world; trained, as if demonstrations were shown."""
    return read_world(request, taught=request.lm.adapter is not None)


def test_trained_students_need_no_demonstrations(tmp_path: Path) -> None:
    trainer = ScriptedTrainer()
    recipe = multi_hop_weights.recipe.replace(
        student=lmpipe.ScriptedLM(student, context=16_384),
        teacher=lmpipe.ScriptedLM(read_world, name="teacher", context=16_384),
        servers=(),
        trainer=trainer,
        train_size=12,
        val_size=6,
        test_size=8,
        racing=None,
        train_check=0,
    )
    run = lmpipe.compile(recipe, runs=tmp_path)
    assert run.test is not None
    assert run.test.evaluations[run.test.baseline].score == 0
    assert run.test.evaluations["compiled"].score == 1
    trained = {path for path, state in run.state.predictors.items() if state.adapter}
    assert "answer" in trained
    assert not any(state.demos for state in run.state.predictors.values())
