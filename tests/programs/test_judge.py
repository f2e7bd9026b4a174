"""The judge is compiled to agree with labels, and then scores other programs."""

from __future__ import annotations

import pytest
from helpers.asked_outputs import reply_with

import lmpipe
from lmpipe.lm.request import Request
from programs import judge
from programs.world_data import judgements

ROWS = [row for part in ("train", "val", "test") for row in judgements(part).read()]


def judged(request: Request) -> str:
    """Judge right if a demonstration is shown, and else find every answer good."""
    asked = request.messages[-1].text
    row = max((row for row in ROWS if row.question in asked), key=lambda row: len(row.question))
    right = row.correct if len(request.messages) > 2 else True
    return reply_with(request, {"reasoning": "I compare.", "correct": right})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lmpipe.Run:
    lm = lmpipe.ScriptedLM(judged, context=16_384)
    recipe = judge.recipe.replace(student=lm, val_size=20, test_size=20, racing=None)
    return lmpipe.compile(recipe, runs=tmp_path_factory.mktemp("runs"))


def test_a_compile_makes_the_judge_agree_with_the_labels(run: lmpipe.Run) -> None:
    assert run.test is not None
    assert run.test.evaluations[run.test.baseline].score < 0.8
    assert run.test.evaluations["compiled"].score == 1


def test_the_compiled_judge_scores_the_answers_of_other_programs(run: lmpipe.Run) -> None:
    scoring = judge.JUDGE.with_program(run.program)
    rows = judgements("test").read()
    examples = [
        lmpipe.Example(question=row.question, answer=row.reference).with_inputs("question")
        for row in rows
    ]
    candidates = {row.question: row.candidate for row in rows}

    class Answers(lmpipe.Module):
        def forward(self, question: str) -> dict[str, str]:
            return {"answer": candidates[question]}

    lm = lmpipe.ScriptedLM(judged)
    evaluation = lmpipe.evaluate(Answers(), examples, scoring, judge=lm)
    assert [row.score.value for row in evaluation.rows] == [float(row.correct) for row in rows]
