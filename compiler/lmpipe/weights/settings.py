"""`TrainingSettings`: how weights are trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from lmpipe.errors import RecipeError
from lmpipe.foundation.checks import check_choice, check_fields
from lmpipe.serving.spec import LORA_RANKS

Method = Literal["sft", "dpo"]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How weights are trained.

    Args:
        method: `sft` learns completions; `dpo` learns to prefer one completion to another.
        full: train all weights instead of a LoRA adapter.
        rank: the adapter's rank; one that vLLM serves: 1, 8, 16, 32, 64, 128, 256, 320 or 512.
        alpha: the adapter's scale, 1 or more; its effect is multiplied by `alpha / rank`.
        dropout: the share of the adapter's inputs dropped in training, from 0 to below 1.
        targets: the linear layers that get an adapter, by the ends of their names, such as
            `q_proj`; all linear layers of the model's blocks by default.
        epochs: passes over the rows, above 0 and up to 1000.
        learning_rate: the peak learning rate, above 0 and up to 1; by default 5e-4 for an adapter
            and 5e-5 for full weights, and a tenth of that for `dpo`.
        batch: rows per step, 1 or more.
        max_length: the maximum length of a row in tokens, prompt and completion together. A
            longer row is an error: rows are never truncated.
        eval_fraction: the share of rows held out for evaluation, from 0 to 0.5.
        beta: how strongly `dpo` stays close to the base model, above 0 and up to 10.
        checkpoint_steps: steps between checkpoints and between evaluations, 1 or more.
        seed: the seed for the held-out rows, the row order and the initial weights.

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
        self._check_numbers()
        methods = get_args(Method)
        check_choice("TrainingSettings", "method", self.method, methods, error=RecipeError)
        if self.rank not in LORA_RANKS:
            raise RecipeError(
                f"TrainingSettings(rank={self.rank}): rank must be a rank that vLLM serves: "
                f"{', '.join(map(str, LORA_RANKS))}"
            )
        if not all(isinstance(name, str) and name and name.isascii() for name in self.targets):
            raise RecipeError(
                f"TrainingSettings(targets={self.targets!r:.80}): targets must be layer names such "
                'as ("q_proj", "v_proj")'
            )
        if self.full and self.targets:
            raise RecipeError(
                "TrainingSettings: full=True trains all weights and takes no targets: remove one "
                "of the two"
            )

    def _check_numbers(self) -> None:
        counts = ("rank", "alpha", "batch", "checkpoint_steps")
        check_fields(self, *counts, minimum=1, integer=True, error=RecipeError)
        check_fields(self, "dropout", minimum=0, below=1, error=RecipeError)
        check_fields(self, "epochs", above=0, maximum=1000, error=RecipeError)
        check_fields(self, "learning_rate", above=0, maximum=1, optional=True, error=RecipeError)
        check_fields(self, "max_length", minimum=2, integer=True, error=RecipeError)
        check_fields(self, "eval_fraction", minimum=0, maximum=0.5, error=RecipeError)
        check_fields(self, "beta", above=0, maximum=10, error=RecipeError)
        check_fields(self, "seed", minimum=0, maximum=2**32 - 1, integer=True, error=RecipeError)

    @property
    def rate(self) -> float:
        """The learning rate in effect: the given one, or the default."""
        if self.learning_rate is not None:
            return self.learning_rate
        return (5e-5 if self.full else 5e-4) * (0.1 if self.method == "dpo" else 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return everything that the result depends on, with the learning rate in effect."""
        return {**asdict(self), "targets": list(self.targets), "learning_rate": self.rate}
