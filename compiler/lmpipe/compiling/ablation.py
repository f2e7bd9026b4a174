"""`Ablation`: which part of a gain comes from what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lmpipe.compiling.difference import Difference
from lmpipe.evaluation.results import Evaluation
from lmpipe.foundation.statistics import Interval, paired_interval
from lmpipe.optimize.engine.objectives import Objectives, run_prompt_tokens

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
        prompt_tokens: how many prompt tokens the part adds to a run on average, without the calls
            of the metric; may be negative.
        examples: the number of examples.
        weighted: the difference of the weighted scores, if the recipe has objectives.
    """

    score: float
    difference: float
    interval: Interval
    prompt_tokens: float
    examples: int
    weighted: Difference | None = None

    @property
    def verdict(self) -> Verdict:
        """What the interval and the difference say of the part; the weighted ones, if any."""
        mean, interval = self.difference, self.interval
        if self.weighted is not None:
            mean, interval = self.weighted.mean, self.weighted.interval
        return verdict_on(mean, (interval.low, interval.high))

    @staticmethod
    def between(
        present: Evaluation,
        absent: Evaluation,
        *,
        alone: bool = False,
        objectives: Objectives | None = None,
    ) -> Effect:
        """Compare evaluations with and without a part on the same examples."""
        pairs = zip(present.values, absent.values, strict=True)
        differences = [after - before for after, before in pairs]
        more, fewer = (sum(map(run_prompt_tokens, rows)) for rows in (present.rows, absent.rows))
        weighted = None
        if objectives is not None:
            weigh = objectives.weighted_score
            weighted = Difference.between(
                list(map(weigh, present.rows)), list(map(weigh, absent.rows))
            )
        return Effect(
            score=(present if alone else absent).score,
            difference=sum(differences) / len(differences),
            interval=paired_interval(differences),
            prompt_tokens=(more - fewer) / len(differences),
            examples=len(differences),
            weighted=weighted,
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
    return {
        "score": effect.score,
        "difference": effect.difference,
        "interval": [effect.interval.low, effect.interval.high],
        "prompt_tokens": effect.prompt_tokens,
        "examples": effect.examples,
        **({"weighted": effect.weighted.to_json()} if effect.weighted else {}),
        "verdict": effect.verdict,
    }
