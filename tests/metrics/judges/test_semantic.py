"""`SemanticF1` and `CompleteAndGrounded`."""

from __future__ import annotations

from typing import Any

import pytest

import lmpipe
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import CompleteAndGrounded, SemanticF1, metric_calls
from lmpipe.settings import using

EXAMPLE = lmpipe.Example(question="Where?", gold="In Rome, by the Tiber.").with_inputs("question")
PREDICTION = {"answer": "In Rome.", "passages": [lmpipe.Passage("Rome is old.", id="a")]}


def replying(**fields: Any) -> str:
    return "\n\n".join(f"[[{name}]]\n{value}" for name, value in fields.items())


def test_semantic_f1_is_that_of_recall_and_precision() -> None:
    lm = lmpipe.ScriptedLM([replying(reasoning="Half.", recall=0.5, precision=1)])
    with using(lm=lm, runtime=Runtime()):
        score = SemanticF1("answer", gold="gold")(EXAMPLE, PREDICTION)
    assert score.value == pytest.approx(2 / 3)
    assert (score.feedback, dict(score.parts)) == ("Half.", {"recall": 0.5, "precision": 1})
    shown = lm.requests[0].messages[-1].text
    assert "[[reference]]\nIn Rome, by the Tiber.\n\n[[answer]]\nIn Rome." in shown


def test_ideas_can_be_listed_before_they_are_compared() -> None:
    script = replying(
        reasoning="x", reference_ideas="- Rome", answer_ideas="- Rome", recall=0, precision=0
    )
    with using(lm=lmpipe.ScriptedLM([script]), runtime=Runtime()):
        score = SemanticF1("answer", gold="gold", decompose=True)(EXAMPLE, PREDICTION)
    assert score.value == 0


def test_complete_and_grounded_asks_twice_and_shows_what_was_retrieved() -> None:
    def script(request: Any) -> str:
        if "[[context]]" in request.messages[-1].text:
            return replying(reasoning="No source.", claims="- Rome", groundedness=0.25)
        ideas = {"reference_ideas": "- Rome", "answer_ideas": "- Rome"}
        return replying(reasoning="All of it.", **ideas, completeness=1)

    lm = lmpipe.ScriptedLM(script)
    with using(lm=lm, runtime=Runtime()):
        score = CompleteAndGrounded("answer", gold="gold")(EXAMPLE, PREDICTION)
    assert score.value == pytest.approx(0.4)
    assert dict(score.parts) == {"completeness": 1, "groundedness": 0.25}
    assert score.feedback == "All of it.\nNo source."
    (context,) = [text for one in lm.requests if "[[context]]" in (text := one.messages[-1].text)]
    assert "[1] Id: a\n\nRome is old." in context


def test_plans_count_both_questions_with_their_retries() -> None:
    assert metric_calls(CompleteAndGrounded()) == 4
    assert metric_calls(SemanticF1(samples=2)) == 4
