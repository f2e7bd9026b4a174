"""Token counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HIGHEST = 2**53  # a higher count is no number of tokens


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, or the sum over many, as servers count them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0

    @staticmethod
    def from_openai(value: Any) -> Usage:
        """Read the `usage` of a response in OpenAI's format; what is no count is 0: unknown."""
        if not isinstance(value, Mapping):
            return Usage()
        details = value.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
        return Usage(
            token_count(value.get("prompt_tokens")),
            token_count(value.get("completion_tokens")),
            token_count(cached),
        )

    @property
    def tokens(self) -> int:
        """All tokens, prompt and completion."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
        )

    def to_json(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_prompt_tokens": self.cached_prompt_tokens,
        }


def token_count(value: object) -> int:
    """Read a number of tokens; 0 if it is none, such as a negative number."""
    if isinstance(value, int | float) and 0 <= value <= _HIGHEST:
        return int(value)
    return 0
