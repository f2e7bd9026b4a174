"""Students whose weights cannot be trained by the recipe's trainer are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.trainer import ScriptedTrainer
from helpers.world import recipe

import lmpipe
from lmpipe.errors import RecipeError

FULL = lmpipe.BootstrapFinetune(training=lmpipe.TrainingSettings(full=True))


@pytest.mark.parametrize(
    "student", [lmpipe.LM("local"), lmpipe.LM("vllm/tiny", base_url="http://127.0.0.1:1/v1")]
)
def test_full_weights_need_a_server_that_lmpipe_starts(tmp_path: Path, student: lmpipe.LM) -> None:
    made = recipe(student=student, optimizer=FULL, trainer=None)
    with pytest.raises(RecipeError, match="need a separate server"):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_a_providers_model_is_not_trained_locally(tmp_path: Path) -> None:
    student = lmpipe.LM("openai/gpt-small", api_key="sesame")
    made = recipe(student=student, optimizer=lmpipe.BootstrapFinetune(), trainer=None)
    with pytest.raises(RecipeError, match=r"trainer=lmpipe.HostedTrainer\(\)"):
        lmpipe.compile(made, runs=tmp_path / "runs")


@pytest.mark.parametrize("student", ["local", "vllm/tiny"])
def test_a_provider_trains_no_local_model(tmp_path: Path, student: str) -> None:
    made = recipe(
        student=lmpipe.LM(student),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=lmpipe.HostedTrainer(api_key="sesame"),
    )
    with pytest.raises(RecipeError, match=f"a hosted trainer trains at a provider, but {student}"):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_the_embedded_lm_takes_no_adapter(tmp_path: Path) -> None:
    made = recipe(student=lmpipe.LM("local"), optimizer=lmpipe.BootstrapFinetune(), trainer=None)
    with pytest.raises(RecipeError, match=r'use the student LM\("vllm/local"\)'):
        lmpipe.compile(made, runs=tmp_path / "runs")


def test_the_trainer_says_whether_it_is_hosted(tmp_path: Path) -> None:
    made = recipe(
        student=lmpipe.LM("vllm/tiny"),
        optimizer=lmpipe.BootstrapFinetune(),
        trainer=ScriptedTrainer(model="ft:tiny:1"),
    )
    with pytest.raises(RecipeError, match="a hosted trainer trains at a provider"):
        lmpipe.compile(made, runs=tmp_path / "runs")
