"""What tokens cost: prices that the user gives, or that the installed litellm lists.

litellm's table is read as a file: litellm itself, which takes seconds to import, is not imported,
and nobody is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmpipe.errors import ConfigError

if TYPE_CHECKING:
    from lmpipe.lm.usage import Usage


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens.

    Args:
        prompt: for prompt tokens.
        completion: for completion tokens.
        cached: for prompt tokens that the server had in its prefix cache; as for others by
            default.

    Raises:
        ConfigError: if one of them is no number of 0 or more.
    """

    prompt: float
    completion: float
    cached: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.prompt, self.completion, 0 if self.cached is None else self.cached)
        for number in numbers:
            if not isinstance(number, int | float) or not 0 <= number < math.inf:
                raise ConfigError(
                    f"{self}: prices are dollars per million tokens, numbers of 0 or more"
                )

    @staticmethod
    def of(value: Price | Sequence[float]) -> Price:
        """A price from (prompt, completion) or (prompt, completion, cached prompt).

        Raises:
            ConfigError: if it is anything else.
        """
        if isinstance(value, Price):
            return value
        if isinstance(value, str) or len(value) not in (2, 3):
            raise ConfigError(
                f"price={value!r}: expected dollars per million tokens as (prompt, completion) or "
                "(prompt, completion, cached prompt)"
            )
        return Price(*value)

    @property
    def dearest(self) -> float:
        """The most that a token of any kind costs, per million."""
        return max(self.prompt, self.completion, self.cached or 0.0)

    def cost(self, usage: Usage) -> float:
        """US dollars for so many tokens."""
        if self.cached is None or not usage.cached_prompt_tokens:
            return self.full_cost(usage)
        cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
        prompt = (usage.prompt_tokens - cached) * self.prompt + cached * self.cached
        return (prompt + usage.completion_tokens * self.completion) / 1e6

    def full_cost(self, usage: Usage) -> float:
        """US dollars if the server had had none of the prompt in its prefix cache."""
        tokens = usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion
        return tokens / 1e6

    def to_json(self) -> list[float]:
        given = (self.prompt, self.completion, self.cached)
        return [number for number in given if number is not None]
