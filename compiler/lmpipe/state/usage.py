"""Token counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_NUMBER = (int, float)
_HIGHEST = 2**53  # a higher number cannot be a count of tokens


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, or the sum over many, as servers count them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0

    @staticmethod
    def from_openai(value: Any) -> Usage:
        """Read the `usage` of a response in OpenAI's format; a count that is not valid is 0."""
        if not isinstance(value, dict):
            return Usage()
        details = value.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else 0
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
    """Read a count of tokens; 0 if it is not valid, such as a negative number."""
    if isinstance(value, _NUMBER) and 0 <= value <= _HIGHEST:
        return int(value)
    return 0
