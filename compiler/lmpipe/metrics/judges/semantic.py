"""Judges of long answers: `SemanticF1`, and `CompleteAndGrounded`.

They measure what the auto-evaluation of DSPy does: the share of the ideas of a reference that an
answer has, and the share of an answer's ideas that a reference, or what was retrieved, supports.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from lmpipe.lm.lm import LM
from lmpipe.metrics.judges.judge import Judge
from lmpipe.metrics.judges.shown import text_of
from lmpipe.metrics.score import Score
from lmpipe.modules.chain_of_thought import ChainOfThought
from lmpipe.modules.module import Module
from lmpipe.signatures.signature import Input, Output, Signature


class CompareIdeas(Signature):
    """Compare an answer with a reference answer by the ideas in them, not by their words."""

    question: str = Input()
    reference: str = Input()
    answer: str = Input()
    recall: float = Output(ge=0, le=1, desc="the share of the reference's ideas in the answer")
    precision: float = Output(ge=0, le=1, desc="the share of the answer's ideas in the reference")


class ListAndCompareIdeas(Signature):
    """List the ideas of an answer and of a reference answer, then compare them."""

    question: str = Input()
    reference: str = Input()
    answer: str = Input()
    reference_ideas: list[str] = Output(desc="the key ideas of the reference")
    answer_ideas: list[str] = Output(desc="the key ideas of the answer")
    recall: float = Output(ge=0, le=1, desc="the share of the reference's ideas in the answer")
    precision: float = Output(ge=0, le=1, desc="the share of the answer's ideas in the reference")


class Completeness(Signature):
    """Estimate how much of a reference answer is in an answer: list its ideas, then compare."""

    question: str = Input()
    reference: str = Input()
    answer: str = Input()
    reference_ideas: list[str] = Output(desc="the key ideas of the reference")
    answer_ideas: list[str] = Output(desc="the key ideas of the answer")
    completeness: float = Output(
        ge=0, le=1, desc="the share of the reference's ideas in the answer"
    )


class Groundedness(Signature):
    """Estimate how much of an answer follows from what was retrieved, and from common sense."""

    question: str = Input()
    context: str = Input(desc="what was retrieved")
    answer: str = Input()
    claims: list[str] = Output(desc="the claims in the answer that are worth a check")
    groundedness: float = Output(ge=0, le=1, desc="the share of the claims that are supported")


class SemanticF1(Judge):
    """Score an answer by the ideas that it shares with a reference: F1 of recall and precision.

    Args:
        field: the prediction's field with the answer.
        gold: the example's field with the reference, if it has another name.
        question: the example's field with the question.
        decompose: let the LM list the ideas of both before it compares them.
        samples: as for `Judge`.
        lm: the judge's LM, or its name; by default the one of the evaluation.
    """

    def __init__(
        self,
        field: str = "answer",
        *,
        gold: str | None = None,
        question: str = "question",
        decompose: bool = False,
        samples: int = 1,
        lm: LM | str | None = None,
    ) -> None:
        super().__init__(
            ChainOfThought(ListAndCompareIdeas if decompose else CompareIdeas, lm=lm),
            inputs={
                "question": f"example.{question}",
                "reference": f"example.{gold or field}",
                "answer": f"prediction.{field}",
            },
            verdict=["recall", "precision"],
            samples=samples,
        )

    def score_of(self, result: Any) -> Score:
        """Turn recall and precision into their F1."""
        return _f1(super().score_of(result))


class _CheckedTwice(Module):
    """Estimates completeness and groundedness of an answer."""

    def __init__(self, lm: LM | str | None) -> None:
        self.complete = ChainOfThought(Completeness, lm=lm)
        self.grounded = ChainOfThought(Groundedness, lm=lm)

    async def forward(self, **inputs: Any) -> dict[str, Any]:
        shown = {name: text_of(value) for name, value in inputs.items()}
        context = shown.pop("context")
        reference = shown.pop("reference")
        complete, grounded = await asyncio.gather(
            self.complete.acall(reference=reference, **shown),
            self.grounded.acall(context=context, **shown),
        )
        return {
            "completeness": complete.completeness,
            "groundedness": grounded.groundedness,
            "reasoning": f"{complete.reasoning}\n{grounded.reasoning}",
        }


class CompleteAndGrounded(Judge):
    """Score an answer by F1 of two shares: of a reference's ideas that it has, and of its claims
    that what was retrieved supports.

    Args:
        field: the prediction's field with the answer.
        gold: the example's field with the reference, if it has another name.
        question: the example's field with the question.
        context: the prediction's field with what was retrieved; inputs of the last predictor are
            fields of its results.
        samples: as for `Judge`.
        lm: the judge's LM, or its name; by default the one of the evaluation.
    """

    def __init__(
        self,
        field: str = "answer",
        *,
        gold: str | None = None,
        question: str = "question",
        context: str = "passages",
        samples: int = 1,
        lm: LM | str | None = None,
    ) -> None:
        super().__init__(
            _CheckedTwice(lm),
            inputs={
                "question": f"example.{question}",
                "reference": f"example.{gold or field}",
                "context": f"prediction.{context}",
                "answer": f"prediction.{field}",
            },
            verdict=["completeness", "groundedness"],
            samples=samples,
        )

    def score_of(self, result: Any) -> Score:
        """Turn completeness and groundedness into their F1."""
        return _f1(super().score_of(result))


def _f1(score: Score) -> Score:
    """Replace the mean of a score's two parts by their harmonic mean."""
    return Score(statistics.harmonic_mean(score.parts.values()), score.feedback, score.parts)
