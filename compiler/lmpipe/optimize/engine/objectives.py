"""`Objectives`: what a compile weighs against the score, the tokens and dollars of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields

from lmpipe.errors import RecipeError
from lmpipe.evaluation.results import Row
from lmpipe.lm.call import Call
from lmpipe.lm.spend import full_price

# What a weight counts: this many tokens of one run, and a dollar for this many runs.
_TOKENS, _RUNS = 1000, 1000


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What makes a candidate better: its score, less what its runs cost.

    The weighted score of a row is `score + (tokens · t / 1000 + usd · u · 1000) / w`, for a run of
    t tokens and u dollars, where w is the weight of the score: it is in units of the score.
    Tokens are those of prompts and replies, thoughts included, cached or not; dollars are at full
    price, without discounts for cached prompts. So caches do not change it. Calls of the metric do
    not count.

    Args:
        score: the weight of the metric's score; above 0.
        tokens: the weight of 1,000 tokens of a run; 0 or below.
        usd: the weight of a dollar for 1,000 runs; 0 or below.

    Raises:
        RecipeError: if a weight is out of range.
    """

    score: float = 1.0
    tokens: float = 0.0
    usd: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not math.isfinite(weight):
                raise RecipeError(f"objectives: the weight of {name} is {weight!r}: give a number")
        if self.score <= 0:
            raise RecipeError(
                f"objectives: the weight of score is {self.score:g}: give one above 0"
            )
        for name in ("tokens", "usd"):
            if getattr(self, name) > 0:
                raise RecipeError(
                    f"objectives: the weight of {name} is {getattr(self, name):g}, which rewards "
                    f"spending: give one below 0, such as {name}=-0.2"
                )

    @staticmethod
    def of(weights: Mapping[str, float] | None) -> Objectives | None:
        """Read weights by name, such as `{"score": 1, "tokens": -0.2}`; None stays.

        Raises:
            RecipeError: if a name is unknown, or a weight out of range.
        """
        if weights is None:
            return None
        known = [item.name for item in fields(Objectives)]
        if not isinstance(weights, Mapping):
            raise RecipeError(
                f"objectives are {weights!r:.100}: give weights by name, such as "
                '{"score": 1, "tokens": -0.2}'
            )
        if unknown := [str(name) for name in weights if name not in known]:
            raise RecipeError(
                f"objectives: {', '.join(unknown)} is unknown; the names are {', '.join(known)}"
            )
        return Objectives(**weights)

    def weighted_score(self, row: Row) -> float:
        """Return the weighted score of a row."""
        return row.score.value + self.price_of(run_tokens(row), run_usd(row) or 0.0)

    def price_of(self, tokens: float, usd: float) -> float:
        """Return what tokens and dollars of one run take from its score, as 0 or less."""
        weighed = self.tokens * tokens / _TOKENS + self.usd * usd * _RUNS
        return weighed / self.score


def parse_weights(text: str) -> dict[str, float]:
    """Read weights by name, such as `score=1,tokens=-0.2`.

    Raises:
        RecipeError: if the text has another form.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError:
            raise RecipeError(
                f"objectives {text!r}: cannot read {part!r}: write weights as in "
                "score=1,tokens=-0.02"
            ) from None
    return weights


def run_tokens(row: Row) -> int:
    """Count the tokens of a run of the program, without those of the metric."""
    return sum(call.reply.usage.tokens for call in _own_calls(row))


def run_prompt_tokens(row: Row) -> int:
    """Count the prompt tokens of a run of the program, without those of the metric."""
    return sum(call.reply.usage.prompt_tokens for call in _own_calls(row))


def run_usd(row: Row) -> float | None:
    """Return the cost of a run of the program at full price; None if a price is unknown."""
    return full_price(_own_calls(row))


def _own_calls(row: Row) -> Iterator[Call]:
    return (call for call in row.calls if call.role != "judge")
