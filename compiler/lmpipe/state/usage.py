"""Token counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NUMBER = (int, float)
_HIGHEST = 2**53  # a higher number cannot be a count of tokens


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, or the sum over many, as servers count them.

    Args:
        prompt_tokens: all tokens of the prompt.
        completion_tokens: all tokens of the reply, thoughts included.
        cached_prompt_tokens: those of the prompt that came from the server's cache.
        reasoning_tokens: those of the reply that are thoughts.
        cache_write_tokens: those of the prompt that the server wrote to its cache, if it says so.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0

    @staticmethod
    def from_openai(value: Any) -> Usage:
        """Read the `usage` of a response in OpenAI's format; a count that is not valid is 0."""
        if not isinstance(value, dict):
            return Usage()
        cached = reasoning = 0
        written = value.get("cache_creation_input_tokens")
        if isinstance(details := value.get("prompt_tokens_details"), dict):
            cached = token_count(details.get("cached_tokens"))
            for name in _WRITTEN:
                written = written or details.get(name)
        if isinstance(details := value.get("completion_tokens_details"), dict):
            reasoning = token_count(details.get("reasoning_tokens"))
        return Usage(
            token_count(value.get("prompt_tokens")),
            token_count(value.get("completion_tokens")),
            cached,
            reasoning,
            token_count(written) if written else 0,
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
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )

    def to_json(self) -> dict[str, int]:
        """Return the counts as JSON; those that few servers report are left out if they are 0."""
        counts = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_prompt_tokens": self.cached_prompt_tokens,
        }
        if self.reasoning_tokens:
            counts["reasoning_tokens"] = self.reasoning_tokens
        if self.cache_write_tokens:
            counts["cache_write_tokens"] = self.cache_write_tokens
        return counts

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Usage:
        """Read what `to_json` wrote; a count that is missing is 0.

        Raises a ValueError if a name is unknown, or a count is not a whole number of 0 or more.
        """
        if not value.keys() <= _COUNTS or not all(map(_is_count, value.values())):
            raise ValueError(f"not a usage in numbers of tokens: {value!r:.200}")
        return Usage(**value)


# Where different servers count what they wrote to their cache.
_WRITTEN = ("cache_write_tokens", "cache_creation_tokens")

_COUNTS = frozenset(Usage.__slots__)


def token_count(value: object) -> int:
    """Read a count of tokens; 0 if it is not valid, such as a negative number."""
    if isinstance(value, _NUMBER) and 0 <= value <= _HIGHEST:
        return int(value)
    return 0


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
