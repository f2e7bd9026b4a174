"""Score answers to questions whose proof is known."""

from __future__ import annotations

from typing import Any

from lmpipe import Example, Score
from lmpipe.metrics import normalized_match, set_f1

_same_answer = normalized_match("answer")
_same_passages = set_f1("citations", gold="support")


def proven_answer(example: Example, prediction: Any) -> Score:
    """Score 1 for the right answer; of a wrong one, the feedback tells the facts to be found."""
    score = _same_answer(example, prediction)
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
