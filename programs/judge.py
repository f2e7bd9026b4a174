"""A judge of answers, compiled to agree with labels.

    lmpipe compile programs/judge.py
    lmpipe compile programs/judge.py:direct     # a verdict at once, for small LMs

The judge is a metric that asks an LM: `metric=JUDGE` scores the answers of any program. What it
asks is a program too, so it is compiled like one: on 160 answers whose labels are known because
they were written to be right or wrong (`programs/worlds/judgements.py`). They are no judgements of
people; with those, the recipe is the same.
"""

from __future__ import annotations

import lmpipe
from lmpipe.metrics import Judge, agreement
from programs.world_data import judgements


class JudgeAnswer(lmpipe.Signature):
    """Does the candidate commit to the same answer as the reference?

    Other words around the answer do not matter. A candidate that gives another answer, leaves a
    choice, or gives none is not correct.
    """

    question: str = lmpipe.Input()
    reference: str = lmpipe.Input(desc="the right answer")
    candidate: str = lmpipe.Input(desc="the answer to be judged")
    correct: bool = lmpipe.Output()


_INPUTS = {
    "question": "example.question",
    "reference": "example.answer",
    "candidate": "prediction.answer",
}
JUDGE = Judge(JudgeAnswer, inputs=_INPUTS, verdict="correct")
DIRECT_JUDGE = Judge(lmpipe.Predict(JudgeAnswer), inputs=_INPUTS, verdict="correct")


def _recipe(judge: Judge, name: str) -> lmpipe.Recipe:
    return lmpipe.Recipe(
        program=judge.program,
        train=judgements("train"),
        val=judgements("val"),
        test=judgements("test"),
        metric=agreement("correct"),
        optimizer=lmpipe.RandomSearch(candidates=8, demos=8, bootstrapped=4),
        name=name,
    )


# Without reasoning, which the labels do not have: labeled demonstrations then show whole replies.
direct = _recipe(DIRECT_JUDGE, "direct-judge")
recipe = _recipe(JUDGE, "judge")
