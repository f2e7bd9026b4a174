"""Score answers to questions whose proof is known."""

from __future__ import annotations

from typing import Any

from lmpipe import Example, Score
from lmpipe.metrics import normalized_match, numeric_match, set_f1

_same_answer = normalized_match("answer")
_same_number = numeric_match("answer")
_same_passages = set_f1("citations")


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
    """Score one half for the right answer and one half for citing what proves it.

    Citations of an answer that is wrong count nothing: they prove it no better.
    """
    answer, cited = proven_answer(example, prediction), _same_passages(example, prediction)
    value = answer.value * (1 + cited.value) / 2
    return Score(
        value,
        f"{answer.feedback}; {cited.feedback}",
        {"answer": answer.value, "citations": cited.value},
    )
