"""A judge is compiled on verdicts of people, and is then the metric of another compile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import lmpipe
from lmpipe import evaluate
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import Agreement, agreement
from lmpipe.settings import using


class Grade(lmpipe.Signature):
    """Grade the reply."""

    reply: str = lmpipe.Input()
    verdict: Literal["bad", "good"] = lmpipe.Output()


class Greet(lmpipe.Signature):
    """Greet the person."""

    name: str = lmpipe.Input()
    reply: str = lmpipe.Output()


def lenient(request: Any) -> str:
    """A judge that says good to everything, unless demonstrations show it what is not."""
    shown = request.messages[-1].text
    polite = "please" in shown or len(request.messages) < 4
    return f"[[verdict]]\n{'good' if polite else 'bad'}"


def make_judge() -> lmpipe.Judge:
    return lmpipe.Judge(
        lmpipe.Predict(Grade), inputs={"reply": "prediction.reply"}, points={"bad": 0, "good": 1}
    )


def labels(first: int, count: int) -> list[lmpipe.Example]:
    judge, example = make_judge(), lmpipe.Example(name="x").with_inputs("name")
    return [
        judge.labelled(
            example,
            {"reply": f"{number} {'please' if number % 2 else 'now'}"},
            verdict="good" if number % 2 else "bad",
        )
        for number in range(first, first + count)
    ]


def test_a_compile_on_verdicts_of_people_makes_a_lenient_judge_agree(tmp_path: Path) -> None:
    judge, lm, test = make_judge(), lmpipe.ScriptedLM(lenient, name="judge"), labels(100, 20)
    recipe = lmpipe.Recipe(
        program=judge.program,
        train=labels(0, 12),
        val=labels(50, 12),
        metric=agreement("verdict"),
        optimizer=lmpipe.LabeledFewShot(demos=4),
        student=lm,
    )
    with using(lm=lm, runtime=Runtime()):
        run = lmpipe.compile(recipe, runs=tmp_path)
        before = Agreement.of(evaluate(judge.program, test, agreement()).rows)
        after = Agreement.of(evaluate(run.program, test, agreement()).rows)
        compiled = judge.with_program(run.program)
        rude = compiled(test[0], {"reply": "7 now"})
    assert (before.accuracy, before.kappa) == (0.5, 0)
    assert (after.accuracy, after.kappa) == (1, 1)
    assert rude.value == 0


def greet(request: Any) -> str:
    name = re.search(r"\[\[name\]\]\n(\w+)", request.messages[-1].text)
    return f"[[reply]]\nHello {name[1] if name else ''}, please"


def greeting(student: lmpipe.LM, judge: lmpipe.LM) -> lmpipe.Recipe:
    people = [lmpipe.Example(name=f"p{n}").with_inputs("name") for n in range(24)]
    return lmpipe.Recipe(
        program=lmpipe.Predict(Greet),
        train=people[:12],
        val=people[12:],
        metric=make_judge(),
        optimizer=lmpipe.RandomSearch(candidates=4, demos=2, bootstrapped=2),
        student=student,
        judge=judge,
        budget=lmpipe.Budget(calls=80),
    )


def approving() -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(lambda request: "[[verdict]]\ngood", name="judge")


def test_a_compile_with_a_judge_that_is_run_again_asks_nothing(tmp_path: Path) -> None:
    asked = []
    for _ in range(2):
        student, judge = lmpipe.ScriptedLM(greet), approving()
        runtime = Runtime(store=Cache(tmp_path / "cache"))
        with using(lm=student, runtime=runtime):
            lmpipe.compile(greeting(student, judge), runs=tmp_path / "runs")
        runtime.close()  # the next one finds on the disk what this one has written
        asked.append((len(student.requests), len(judge.requests)))
    assert asked[0] > (0, 0)
    assert asked[1] == (0, 0)


def test_a_compile_with_a_judge_as_its_metric_keeps_its_budget(tmp_path: Path) -> None:
    student, judge = lmpipe.ScriptedLM(greet), approving()
    with using(lm=student, runtime=Runtime()):
        run = lmpipe.compile(greeting(student, judge), runs=tmp_path)
    assert run.spend["judge"].calls >= len(judge.requests) > 12
    assert run.spend["task"].calls + run.spend["judge"].calls <= 80
