"""`TrainingSettings`: how weights are trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_fields

Method = Literal["sft", "dpo"]

# What vLLM's --max-lora-rank takes; an adapter of a rank between two of them is legal there too,
# but takes the memory of the larger one.
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How weights are trained.

    Args:
        method: `sft` learns completions; `dpo` learns to prefer one completion to another.
        full: train all weights instead of a LoRA adapter beside them.
        rank: the adapter's rank.
        alpha: the adapter's scale; it counts `alpha / rank`.
        dropout: the share of the adapter's inputs that is dropped in training.
        targets: the linear layers that get an adapter, by the ends of their names, such as
            `q_proj`; all those of the model's blocks by default.
        epochs: how often each row is seen.
        learning_rate: the highest step size; by default 5e-4 for an adapter and 5e-5 for full
            weights, and a tenth of that for `dpo`.
        batch: rows in a step.
        max_length: the most tokens in a row, prompt and completion together. A longer row is an
            error: nothing is cut off.
        eval_fraction: the share of rows that is not trained on, but watched.
        beta: how much `dpo` holds on to the base model.
        checkpoint_steps: steps between two checkpoints, and two looks at the rows held out.
        seed: of all that is random: the rows held out, the order, the first weights.

    Raises:
        RecipeError: if a value is out of range.
    """

    method: Method = "sft"
    full: bool = False
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    epochs: float = 3.0
    learning_rate: float | None = None
    batch: int = 8
    max_length: int = 2048
    eval_fraction: float = 0.1
    beta: float = 0.1
    checkpoint_steps: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        counts = ("rank", "alpha", "batch", "max_length", "checkpoint_steps")
        check_fields(self, *counts, minimum=1, integer=True, error=RecipeError)
        check_fields(self, "dropout", "epochs", "eval_fraction", "beta", error=RecipeError)
        check_fields(self, "learning_rate", optional=True, error=RecipeError)
        check_fields(self, "seed", minimum=0, integer=True, error=RecipeError)
        for name, fits, expected in (
            ("method", self.method in get_args(Method), "one of sft, dpo"),
            ("rank", self.rank in VLLM_RANKS, f"one that vLLM serves: {_listed(VLLM_RANKS)}"),
            ("alpha", self.alpha >= 1, "1 or more"),
            ("dropout", 0.0 <= self.dropout < 1.0, "0 or more, and below 1"),
            ("targets", _are_names(self.targets), 'names such as ("q_proj", "v_proj")'),
            ("epochs", 0.0 < self.epochs <= 1000.0, "over 0, at most 1000"),
            ("learning_rate", 0.0 < self.rate <= 1.0, "over 0, at most 1"),
            ("batch", self.batch >= 1, "1 or more"),
            ("max_length", self.max_length >= 2, "2 or more"),
            ("eval_fraction", 0.0 <= self.eval_fraction <= 0.5, "from 0 to 0.5"),
            ("beta", 0.0 < self.beta <= 10.0, "over 0, at most 10"),
            ("checkpoint_steps", self.checkpoint_steps >= 1, "1 or more"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 4294967295"),
        ):
            if not fits:
                raise RecipeError(
                    f"TrainingSettings: {name} is {getattr(self, name)!r}, expected {expected}"
                )
        if self.full and self.targets:
            raise RecipeError(
                "TrainingSettings: full weights have no targets: leave out either full or targets"
            )

    @property
    def rate(self) -> float:
        """The learning rate that holds: the one given, or the default for what is trained."""
        if self.learning_rate is not None:
            return self.learning_rate
        return (5e-5 if self.full else 5e-4) * (0.1 if self.method == "dpo" else 1.0)

    def to_json(self) -> dict[str, Any]:
        """All that the result depends on, with the learning rate that holds."""
        return {**asdict(self), "targets": list(self.targets), "learning_rate": self.rate}


def _are_names(targets: tuple[object, ...]) -> bool:
    return all(isinstance(name, str) and name and name.isascii() for name in targets)


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))
