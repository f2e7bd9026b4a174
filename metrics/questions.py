"""Score answers to questions whose proof is known."""

from __future__ import annotations

from statistics import harmonic_mean
from typing import Any

from lmpipe import Example, Score
from lmpipe.metrics import normalized_match, numeric_match, passage_precision, passage_recall

_same_answer = normalized_match("answer")
_same_number = numeric_match("answer")
_recall = passage_recall("citations", gold="support")
_precision = passage_precision("citations", gold="support")


def proven_answer(example: Example, prediction: Any) -> Score:
    """Score 1 for the right answer; of a wrong one, the feedback tells the facts to be found."""
    return _with_proof(example, _same_answer(example, prediction))


def proven_number(example: Example, prediction: Any) -> Score:
    """`proven_answer` for an answer that is a number."""
    return _with_proof(example, _same_number(example, prediction))


def _with_proof(example: Example, score: Score) -> Score:
    if score.value == 1:
        return score
    return Score(score.value, f"{score.feedback}. It follows from: {example.reasoning}")


def cited_answer(example: Example, prediction: Any) -> Score:
    """Score one half for the right answer and one half for the F1 of the passages that it cites.

    Citations of a wrong answer count nothing: they do not prove it.
    """
    answer = proven_answer(example, prediction)
    recall, precision = _recall(example, prediction), _precision(example, prediction)
    cited = harmonic_mean([recall.value, precision.value])
    return Score(
        answer.value * (1 + cited) / 2,
        f"{answer.feedback}; {recall.feedback}; {precision.feedback}",
        {"answer": answer.value, "citations": cited},
    )
