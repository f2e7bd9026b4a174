"""What listeners are told of an evaluation."""

from __future__ import annotations

import pytest

import lmpipe
from lmpipe.errors import MetricError
from lmpipe.lm.events import (
    AnyEvent,
    EvaluationEnded,
    EvaluationStarted,
    LMStarted,
    RowEnded,
    RowStarted,
)
from lmpipe.lm.runtime import Runtime
from lmpipe.metrics import judge
from lmpipe.settings import using

DATA = [
    lmpipe.Example(question=f"question {n}", answer="yes").with_inputs("question") for n in range(3)
]


def scripted() -> lmpipe.ScriptedLM:
    return lmpipe.ScriptedLM(lambda request: "## answer\nyes")


def test_an_evaluation_has_its_rows_inside() -> None:
    events: list[AnyEvent] = []
    with lmpipe.observing(events.append), using(lm=scripted(), runtime=Runtime()):
        evaluation = lmpipe.evaluate(
            lmpipe.Predict("question -> answer"), DATA, lambda example, prediction, trace: True
        )
    started, ended = events[0], events[-1]
    assert isinstance(started, EvaluationStarted)
    assert (started.program, started.examples) == ("Predict", 3)
    assert isinstance(ended, EvaluationEnded)
    assert ended.evaluation is evaluation
    begun = [event for event in events if isinstance(event, RowStarted)]
    assert [(event.parent, event.index, event.example) for event in begun] == [
        (started.id, index, example) for index, example in enumerate(DATA)
    ]
    rows = [event.row for event in events if isinstance(event, RowEnded)]
    assert sorted(row.index for row in rows if row is not None) == [0, 1, 2]


def test_the_calls_of_a_metric_belong_to_its_row() -> None:
    program, judging = lmpipe.Predict("question -> answer"), lmpipe.Predict("text -> answer")

    @judge(max_calls=1)
    async def metric(example: lmpipe.Example, prediction: object, trace: object) -> bool:
        return bool((await judging.acall(text="good?")).answer)

    events: list[AnyEvent] = []
    with lmpipe.observing(events.append), using(lm=scripted(), runtime=Runtime()):
        lmpipe.evaluate(program, DATA[:1], metric)
    row = next(event.id for event in events if isinstance(event, RowStarted))
    parents = {event.id: event.parent for event in events}
    asked = [event for event in events if isinstance(event, LMStarted)]
    assert [(event.role, parents[event.parent or 0]) for event in asked] == [
        ("task", row),
        ("judge", row),
    ]


def test_an_evaluation_that_raises_ends_with_its_error() -> None:
    def metric(example: object, prediction: object, trace: object) -> bool:
        raise ValueError("no")

    events: list[AnyEvent] = []
    with (
        lmpipe.observing(events.append),
        using(lm=scripted(), runtime=Runtime()),
        pytest.raises(MetricError) as raised,
    ):
        lmpipe.evaluate(lmpipe.Predict("question -> answer"), DATA, metric)
    ended = events[-1]
    assert isinstance(ended, EvaluationEnded)
    assert (ended.error, ended.evaluation) == (raised.value, None)
