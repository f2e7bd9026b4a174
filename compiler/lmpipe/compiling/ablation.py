"""`Ablation`: which part of a gain comes from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.statistics import Interval, paired_interval

# What a paired interval says of a part.
Verdict: TypeAlias = Literal["needed", "not certain", "can be left out", "better without it"]

# More examples would cost as much as the search, and make the intervals little shorter.
MOST_EXAMPLES = 100


def verdict_on(difference: float, interval: tuple[float, float]) -> Verdict:
    """Say what a difference and its paired interval mean for a part."""
    low, high = interval
    if low > 0:
        return "needed"
    if high < 0:
        return "better without it"
    return "not certain" if difference > 0 else "can be left out"


@dataclass(frozen=True)
class Effect:
    """How much one part adds to the score, on the same examples with it and without it.

    Args:
        score: the score that shows it: without the part, or with it alone.
        difference: the score with the part minus the score without it.
        interval: the paired 95 % confidence interval of the difference.
        prompt_tokens: how many prompt tokens the part adds to a run on average; may be negative.
        examples: the number of examples.
    """

    score: float
    difference: float
    interval: Interval
    prompt_tokens: float
    examples: int

    @property
    def verdict(self) -> Verdict:
        """What the interval and the difference say of the part."""
        return verdict_on(self.difference, (self.interval.low, self.interval.high))

    @staticmethod
    def between(present: Evaluation, absent: Evaluation, *, alone: bool = False) -> Effect:
        """Compare evaluations with and without a part on the same examples."""
        pairs = zip(present.values, absent.values, strict=True)
        differences = [after - before for after, before in pairs]
        tokens = present.usage.prompt_tokens - absent.usage.prompt_tokens
        return Effect(
            score=(present if alone else absent).score,
            difference=sum(differences) / len(differences),
            interval=paired_interval(differences),
            prompt_tokens=tokens / len(differences),
            examples=len(differences),
        )


@dataclass(frozen=True)
class AblatedPart:
    """A part of the result that differs from the declared program.

    Args:
        name: such as `demonstrations` or `constrained outputs`; of several predictors together.
        learned: what was learned, in a few words.
        without: what the result loses without the part, which is then as declared.
        alone: what the part alone adds to the declared program; None if it was not tried: it is
            the only part, has no meaning alone, or the budget was too small.
    """

    name: str
    learned: str
    without: Effect
    alone: Effect | None


@dataclass(frozen=True)
class Ablation:
    """The result of a compile taken apart on validation examples.

    Parts work together, so what they add need not add up to the whole difference.

    Args:
        score: the score of the whole result on the examples without a part.
        parts: the parts that differ from the declared program; empty if the budget was too small.
        incomplete: why something is missing; empty if nothing is.
    """

    score: float
    parts: Sequence[AblatedPart]
    incomplete: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the manifest."""
        return {
            "score": self.score,
            "parts": [
                {
                    "name": part.name,
                    "learned": part.learned,
                    "without": _effect_json(part.without),
                    "alone": _effect_json(part.alone) if part.alone else None,
                }
                for part in self.parts
            ],
            "incomplete": self.incomplete,
        }


def _effect_json(effect: Effect) -> dict[str, Any]:
    interval = [effect.interval.low, effect.interval.high]
    return {**asdict(effect), "interval": interval, "verdict": effect.verdict}
