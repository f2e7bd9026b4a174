"""The settings of an LM that nobody gave: temperature, room for replies and context, by model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final, Literal, get_args

from lmpipe.errors import ConfigError
from lmpipe.foundation.checks import check_number
from lmpipe.lm.model_table import EMBEDDED, SELF_HOSTED, ModelFacts, facts_of


class ByModel(Enum):
    """The value of a setting that was not given: it depends on the model."""

    BY_MODEL = "by model"


BY_MODEL: Final = ByModel.BY_MODEL

ReasoningLevel = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
REASONING_LEVELS: tuple[str, ...] = get_args(ReasoningLevel)

DEFAULT_MAX_TOKENS = 512
DEFAULT_CONTEXT = 8192

# Of open weights that think, on a server that does not say what its context is.
_THINKING_CONTEXT = 32768
# The room for the replies of hosted models: for an answer alone, and with thoughts before it.
_ANSWER = 4096
_WITH_THOUGHTS: Mapping[str | None, int] = {"minimal": 8192, "low": 8192, "high": 32768}
_MOST_THOUGHTS, _USUAL_THOUGHTS = 65536, 16384
# What budgets count for a prompt whose length nobody has limited.
_PROMPT = 8192


class ParameterWarning(UserWarning):
    """A model does not take a parameter: requests are sent without it."""


class StructuredOutputsWarning(ParameterWarning):
    """A server does not take constraints: only parsing enforces the format of replies."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The settings of an LM that depend on its model, as they were given or not."""

    temperature: float | ByModel | None = BY_MODEL
    max_tokens: int | ByModel | None = BY_MODEL
    context: int | ByModel = BY_MODEL
    reasoning: ReasoningLevel | int | None = None

    def check(self, owner: str = "LM") -> None:
        """Raise a ConfigError if a value is out of range; `owner` is what it was given to."""
        if self.temperature is not BY_MODEL:
            check_number(owner, "temperature", self.temperature, minimum=0, optional=True)
        if self.max_tokens is not BY_MODEL:
            limit = self.max_tokens
            check_number(owner, "max_tokens", limit, minimum=1, integer=True, optional=True)
        if self.context is not BY_MODEL:
            check_number(owner, "context", self.context, minimum=1, integer=True)
        level = self.reasoning
        if isinstance(level, str) and level not in REASONING_LEVELS:
            valid = ", ".join(map(repr, REASONING_LEVELS))
            raise ConfigError(
                f"{owner}(reasoning={level!r:.80}): reasoning must be one of {valid}, or the "
                "maximum tokens of thoughts"
            )
        if level is not None and not isinstance(level, str):
            check_number(owner, "reasoning", level, minimum=1, integer=True)


# What depends on the model unless it is given.
ASKED = tuple(field.name for field in fields(Asked))


@dataclass(frozen=True, slots=True)
class Settled:
    """The settings of an LM that are sent, and those that lmpipe counts with.

    Args:
        temperature: None is not sent.
        max_tokens: None is not sent.
        limit_name: the name under which `max_tokens` is sent.
        context: the maximum tokens of a call, prompt and reply.
        reserved: the tokens of a call that budgets reserve.
        reasoning: None is not sent.
        thinks: whether the model thinks before it answers.
        takes: what it takes and refuses, by name.
        left_out: what was given and is not sent, each with the reason.
    """

    temperature: float | None
    max_tokens: int | None
    limit_name: str
    context: int
    reserved: int
    reasoning: ReasoningLevel | int | None
    thinks: bool
    takes: Mapping[str, bool]
    left_out: Mapping[str, str]


def settle(model: str, base_url: str | None, asked: Asked, declared: Mapping[str, bool]) -> Settled:
    """Fill in what was not given, and leave out what the model does not take.

    Raises:
        ConfigError: if the thoughts are to be switched off, but the model cannot do that, or if
            they leave no room for an answer.
    """
    facts = facts_of(model, base_url)
    takes: dict[str, bool] = {**facts.takes, **declared}
    reasoning = _reasoning(model, asked.reasoning, facts, takes)
    thinks = _thinks(reasoning, facts, declared)
    left_out = {} if reasoning or asked.reasoning in (None, "none") else {"reasoning": ""}
    temperature = _temperature(model, asked.temperature, facts, takes, thinks=thinks)
    if temperature is None and asked.temperature not in (None, BY_MODEL):
        refused = takes.get("temperature") is False
        left_out["temperature"] = "" if refused else " while it thinks"
    limit = _limit(model, base_url, asked.max_tokens, facts, reasoning, thinks=thinks)
    name = "max_completion_tokens" if takes.get("max_tokens") is False else "max_tokens"
    if takes.get(name) is False:
        limit = None
    if isinstance(reasoning, int) and limit is not None and limit <= reasoning:
        raise ConfigError(
            f"LM({model!r}, reasoning={reasoning}): {reasoning} tokens of thoughts leave no room "
            f"for an answer in a reply of max_tokens={limit}: set a higher limit, or fewer thoughts"
        )
    self_hosted = _is_self_hosted(model, base_url, facts)
    usual = DEFAULT_CONTEXT
    if thinks and self_hosted:
        usual = _THINKING_CONTEXT
    elif not self_hosted and limit is not None:
        usual = _PROMPT + limit
    context = facts.context or usual if asked.context is BY_MODEL else asked.context
    if asked.context is BY_MODEL and limit is not None:
        reserved = min(context, _PROMPT + limit)
    else:
        reserved = context
    return Settled(temperature, limit, name, context, reserved, reasoning, thinks, takes, left_out)


def _temperature(
    model: str,
    asked: float | ByModel | None,
    facts: ModelFacts,
    takes: Mapping[str, bool],
    *,
    thinks: bool,
) -> float | None:
    refused = takes.get("temperature") is False
    if asked is BY_MODEL:
        # Whether OpenAI's models take it depends on how much they think.
        return None if refused or thinks or facts.openai else 0.0
    if asked is None:
        return None
    # While they think, these take no other temperature than 1.
    bound = thinks and (facts.openai or "claude" in model) and "temperature" not in takes
    return None if refused or (bound and asked != 1) else float(asked)


def _limit(
    model: str,
    base_url: str | None,
    asked: int | ByModel | None,
    facts: ModelFacts,
    reasoning: ReasoningLevel | int | None,
    *,
    thinks: bool,
) -> int | None:
    if asked is not BY_MODEL:
        return asked
    provider = model.partition("/")[0]
    if _is_self_hosted(model, base_url, facts):
        # The room for thoughts is the server's to know; a budget of tokens bounds them.
        return None if thinks and provider not in EMBEDDED else _room_here(reasoning)
    room = _ANSWER
    if isinstance(reasoning, int):
        room += reasoning
    elif thinks:
        room = _MOST_THOUGHTS if reasoning in ("xhigh", "max") else _USUAL_THOUGHTS
        room = _WITH_THOUGHTS.get(reasoning, room)
    return min(room, facts.max_output or room)


def _room_here(reasoning: ReasoningLevel | int | None) -> int:
    """The room for a reply of the embedded model, or of one that does not think."""
    if isinstance(reasoning, int):
        return DEFAULT_MAX_TOKENS + reasoning
    return DEFAULT_MAX_TOKENS if reasoning in (None, "none") else DEFAULT_CONTEXT // 2


def _is_self_hosted(model: str, base_url: str | None, facts: ModelFacts) -> bool:
    """Whether a model is not one that its provider hosts, with a context of at least 8,192."""
    provider = model.partition("/")[0]
    if provider in EMBEDDED or provider in SELF_HOSTED:
        return True
    # A name that OpenAI does not have is one on a server with OpenAI's API.
    return provider == "openai" and not facts.hosted


def _reasoning(
    model: str,
    asked: ReasoningLevel | int | None,
    facts: ModelFacts,
    takes: Mapping[str, bool],
) -> ReasoningLevel | int | None:
    if asked is None:
        return None
    if asked == "none" and facts.thinks == "always":
        raise ConfigError(
            f'LM({model!r}, reasoning="none"): this model always thinks: write reasoning="low" for '
            "few thoughts, or choose another model"
        )
    return None if takes.get("reasoning") is False else asked


def _thinks(
    reasoning: ReasoningLevel | int | None, facts: ModelFacts, declared: Mapping[str, bool]
) -> bool:
    if reasoning is not None:
        return reasoning != "none"
    # A model that refuses to be told how much to think may think all the same.
    return declared.get("reasoning") is True or facts.thinks in ("by_default", "always")


def tell_left_out(model: str, left_out: Mapping[str, str]) -> None:
    """Warn of parameters that were given and are not sent, each with the reason."""
    for name, why in left_out.items():
        warnings.warn(
            f"{model} does not take {name}{why}: requests are sent without it. If it does take it: "
            f'LM({model!r}, takes={{"{name}": True}})',
            ParameterWarning,
            stacklevel=4,
        )


def check_takes(model: str, takes: Mapping[str, Any]) -> None:
    """Check what a user declares that a model takes.

    Raises:
        ConfigError: if it is not a mapping from names to true or false.
    """
    valid = isinstance(takes, Mapping) and all(
        isinstance(name, str) and isinstance(value, bool) for name, value in takes.items()
    )
    if not valid:
        raise ConfigError(
            f"LM({model!r}, takes={takes!r:.100}): write the parameters that the model takes or "
            'refuses, as in takes={"temperature": False, "tools": True}'
        )
