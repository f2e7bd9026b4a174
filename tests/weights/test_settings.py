"""What training settings take, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from lmpipe.errors import RecipeError
from lmpipe.weights.settings import VLLM_RANKS, TrainingSettings


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
        ("max_length", 1),
        ("eval_fraction", 0.6),
        ("beta", 0.0),
        ("checkpoint_steps", 0),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_expected(name: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=rf"\b{name} (is|must be) "):
        TrainingSettings(**{name: value})


@pytest.mark.parametrize("rank", VLLM_RANKS)
def test_every_rank_of_vllm_is_taken(rank: int) -> None:
    assert TrainingSettings(rank=rank).rank == rank


def test_full_weights_have_no_targets() -> None:
    with pytest.raises(RecipeError, match="no targets"):
        TrainingSettings(full=True, targets=("q_proj",))


def test_the_learning_rate_suits_what_is_trained_unless_it_is_given() -> None:
    assert TrainingSettings().rate == 5e-4
    assert TrainingSettings(full=True).rate == 5e-5
    assert TrainingSettings(method="dpo").rate == pytest.approx(5e-5)
    assert TrainingSettings(full=True, learning_rate=1e-3).to_json()["learning_rate"] == 1e-3


def test_a_list_of_targets_is_as_good_as_a_tuple() -> None:
    targets: Any = ["q_proj"]
    assert TrainingSettings(targets=targets) == TrainingSettings(targets=("q_proj",))
