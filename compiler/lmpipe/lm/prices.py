"""`Price`: the price of an LM's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmpipe.errors import ConfigError
from lmpipe.foundation.checks import check_fields

if TYPE_CHECKING:
    from lmpipe.state.usage import Usage


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens.

    Args:
        prompt: for prompt tokens.
        completion: for completion tokens.
        cached: for prompt tokens that the server had in its prefix cache; the price of prompt
            tokens by default.
        written: for prompt tokens that it wrote to that cache; the price of prompt tokens by
            default.

    Raises:
        ConfigError: if a price is negative or not a number.
    """

    prompt: float
    completion: float
    cached: float | None = None
    written: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, "prompt", "completion", minimum=0)
        check_fields(self, "cached", "written", minimum=0, optional=True)

    @staticmethod
    def of(value: Price | Sequence[float]) -> Price:
        """Convert the prices of prompt, completion, cached and written prompt to a price.

        The last two may be left out.
        """
        if isinstance(value, Price):
            return value
        if not isinstance(value, Sequence) or isinstance(value, str) or not 2 <= len(value) <= 4:
            raise ConfigError(
                f"price={value!r}: expected dollars per million tokens as (prompt, completion) or "
                "(prompt, completion, cached prompt), and then that of writing to the cache"
            )
        return Price(*value)

    @property
    def highest(self) -> float:
        """The highest price of any kind of token."""
        return max(self.prompt, self.completion, self.cached or 0.0, self.written or 0.0)

    def cost(self, usage: Usage) -> float:
        """Return the cost of tokens in US dollars."""
        if not usage.cached_prompt_tokens and not usage.cache_write_tokens:
            return self.full_cost(usage)
        cached = min(usage.cached_prompt_tokens, usage.prompt_tokens)
        written = min(usage.cache_write_tokens, usage.prompt_tokens - cached)
        prompt = (
            (usage.prompt_tokens - cached - written) * self.prompt
            + cached * (self.prompt if self.cached is None else self.cached)
            + written * (self.prompt if self.written is None else self.written)
        )
        return (prompt + usage.completion_tokens * self.completion) / 1e6

    def full_cost(self, usage: Usage) -> float:
        """Return the cost in US dollars as if no prompt token came from the prefix cache."""
        tokens = usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion
        return tokens / 1e6

    def to_json(self) -> list[float | None]:
        """Return the prices in order, without those at the end that are not given."""
        given = [self.prompt, self.completion, self.cached, self.written]
        while given[-1] is None:
            given.pop()
        return given
