"""TrainingSettings: ranges and defaults."""

from __future__ import annotations

from typing import Any

import pytest

from lmpipe.errors import RecipeError
from lmpipe.serving.spec import LORA_RANKS
from lmpipe.weights.settings import TrainingSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "ppo"),
        ("rank", 12),
        ("rank", 0),
        ("alpha", 0),
        ("dropout", 1.0),
        ("targets", ("",)),
        ("epochs", 0.0),
        ("epochs", float("nan")),
        ("learning_rate", 0.0),
        ("batch", 0),
        ("batch", True),
        ("rank", 8.0),
        ("max_length", 1),
        ("eval_fraction", 0.6),
        ("beta", 0.0),
        ("checkpoint_steps", 0),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_is_an_error_with_the_expected_range(name: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=rf"TrainingSettings\({name}=.*\): {name} must be "):
        TrainingSettings(**{name: value})


@pytest.mark.parametrize("rank", LORA_RANKS)
def test_every_rank_of_vllm_is_accepted(rank: int) -> None:
    assert TrainingSettings(rank=rank).rank == rank


def test_full_weights_take_no_targets() -> None:
    with pytest.raises(RecipeError, match="takes no targets"):
        TrainingSettings(full=True, targets=("q_proj",))


def test_the_default_learning_rate_depends_on_the_training() -> None:
    assert TrainingSettings().rate == 5e-4
    assert TrainingSettings(full=True).rate == 5e-5
    assert TrainingSettings(method="dpo").rate == pytest.approx(5e-5)
    assert TrainingSettings(full=True, learning_rate=1e-3).to_json()["learning_rate"] == 1e-3


def test_targets_may_be_a_list() -> None:
    targets: Any = ["q_proj"]
    assert TrainingSettings(targets=targets) == TrainingSettings(targets=("q_proj",))
