"""Evaluations: totals, files, and failures by kind."""

from __future__ import annotations

import asyncio
import csv
import inspect
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.world import things

import lmpipe
from lmpipe.errors import ConfigError, DataError, LMRequestError, MetricError
from lmpipe.evaluation.evaluate import RunOptions, run_pairs
from lmpipe.evaluation.results import Evaluation, Failure, Row
from lmpipe.lm.concurrency import loop
from lmpipe.lm.request import Reply, Request
from lmpipe.metrics import Score, exact_match
from lmpipe.state.trace import Trace

PROGRAM = lmpipe.Predict("message -> score: int")


def examples(count: int = 3) -> list[lmpipe.Example]:
    rows = [lmpipe.Example(message=f"no. {n}", score=n) for n in range(count)]
    return [row.with_inputs("message") for row in rows]


def says_one(request: Request) -> str:
    return "## score\n1"


def evaluated() -> Evaluation:
    return lmpipe.evaluate(
        PROGRAM, examples(), exact_match("score"), lm=lmpipe.ScriptedLM(says_one)
    )


def row(index: int, score: Score, seconds: float = 0.0) -> Row:
    example = lmpipe.Example(n=index).with_inputs("n")
    return Row(index, example, None, score, None, Trace(), (), seconds)


def test_rows_are_saved_as_json_lines(tmp_path: Path) -> None:
    evaluated().save(tmp_path / "rows.jsonl")
    lines = [orjson.loads(line) for line in (tmp_path / "rows.jsonl").read_bytes().splitlines()]
    assert [(line["index"], line["score"]) for line in lines] == [(0, 0.0), (1, 1.0), (2, 0.0)]


def test_a_csv_keeps_fields_that_have_the_name_of_a_column(tmp_path: Path) -> None:
    evaluated().save(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        saved = list(csv.DictReader(file))
    assert [line["example.message"] for line in saved] == ["no. 0", "no. 1", "no. 2"]
    assert [(line["example.score"], line["score"]) for line in saved][1] == ("1", "1.0")


@pytest.mark.parametrize("name", ["rows.txt", "nowhere/rows.csv"])
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError):
        evaluated().save(tmp_path / name)


def test_the_latency_is_a_quantile_of_the_times_of_rows() -> None:
    result = Evaluation(tuple(row(n, Score(0.0), seconds=float(n)) for n in (3, 1, 2, 4)))
    assert [result.latency(share) for share in (0.0, 0.5, 1.0)] == [1.0, 3.0, 4.0]


def test_parts_are_means_over_all_rows() -> None:
    scores = [Score(1.0, parts={"form": 1.0}), Score(0.0, parts={"form": 0.5}), Score(0.0)]
    result = Evaluation(tuple(row(n, score) for n, score in enumerate(scores)))
    assert result.parts == {"form": 0.5}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("concurrency", 1.5),
        ("row_timeout", 0),
        ("row_timeout", -1),
        ("row_timeout", float("nan")),
    ],
)
def test_a_number_out_of_range_is_refused_before_the_lm_is_called(name: str, value: Any) -> None:
    lm = lmpipe.ScriptedLM(says_one)
    options: Any = {name: value}
    with pytest.raises(ConfigError, match=rf"evaluate\({name}={value}\): {name} must be"):
        lmpipe.evaluate(PROGRAM, examples(), exact_match("score"), lm=lm, **options)
    assert lm.requests == []


def test_evaluate_has_the_parameters_and_the_name_that_it_shows() -> None:
    assert lmpipe.evaluate.__name__ == "evaluate"
    assert inspect.signature(lmpipe.evaluate) == inspect.signature(lmpipe.aevaluate)


class Hanging(lmpipe.ScriptedLM):
    """Never answers the second request."""

    async def complete(self, request: Request, **options: object) -> Reply:
        if "no. 1" in request.messages[-1].content:
            await asyncio.Event().wait()
        return await super().complete(request)


class Sync(lmpipe.Module):
    def __init__(self) -> None:
        self.rate = lmpipe.Predict("message -> score: int")

    def forward(self, message: str) -> object:
        return self.rate(message=message)


@pytest.mark.parametrize("program", [PROGRAM, Sync()])
def test_a_row_that_takes_too_long_is_a_deadline_failure(program: lmpipe.Module) -> None:
    lm = Hanging(says_one)
    result = lmpipe.evaluate(
        program, examples(), lambda example, prediction: True, lm=lm, row_timeout=0.2
    )
    assert result.failures == {"deadline": 1}
    assert result.rows[1].failure == Failure("deadline", "took longer than 0.2 seconds")
    assert [row.score.value for row in result.rows] == [1.0, 0.0, 1.0]


def test_a_timeout_that_the_program_raises_is_a_program_failure() -> None:
    class Impatient(Sync):
        def forward(self, message: str) -> object:
            raise TimeoutError("the database is slow")

    def any_score(example: lmpipe.Example, prediction: object) -> bool:
        return True

    result = lmpipe.evaluate(Impatient(), examples(), any_score, row_timeout=60)
    assert result.failures == {"program": 3}


def broken(example: lmpipe.Example, prediction: object, trace: object) -> bool:
    raise KeyError("gold")


def refuses(request: Request) -> str:
    raise LMRequestError("too long", status=400)


def test_a_metric_that_raises_on_every_row_is_an_error() -> None:
    with pytest.raises(MetricError, match="every one of 3 rows"):
        lmpipe.evaluate(PROGRAM, examples(), broken, lm=lmpipe.ScriptedLM(says_one))


def test_an_lm_that_refuses_every_row_is_an_error() -> None:
    with pytest.raises(LMRequestError, match="every one of 3 rows"):
        lmpipe.evaluate(PROGRAM, examples(), exact_match("score"), lm=lmpipe.ScriptedLM(refuses))


def test_few_rows_may_all_fail() -> None:
    options = RunOptions(scope={"lm": lmpipe.ScriptedLM(refuses)}, may_all_fail=True)
    pairs = [(PROGRAM, example) for example in examples()]
    result = loop.run_sync(run_pairs(pairs, exact_match("score"), options))
    assert result.failures == {"request": 3}


def test_an_invalid_input_from_another_predictor_is_a_failure_of_the_row() -> None:
    class Chain(lmpipe.Module):
        def __init__(self) -> None:
            self.last = lmpipe.Predict("number: int -> colour")

        def forward(self, thing: str) -> object:
            return self.last(number="not a number" if "sky" in thing else 3)

    def any_colour(example: lmpipe.Example, prediction: object) -> bool:
        return True

    lm = lmpipe.ScriptedLM(lambda request: "## colour\nred")
    result = lmpipe.evaluate(Chain(), things(20), any_colour, lm=lm)
    assert result.failures == {"program": sum("sky" in row.thing for row in things(20))}


def test_inputs_of_other_names_than_the_predictors_are_refused_before_any_call() -> None:
    lm = lmpipe.ScriptedLM(lambda _: "## a\nb")
    rows = [lmpipe.Example(question="x", a="b").with_inputs("question")]
    with pytest.raises(DataError, match=r"(?s)missing 'q'.*inputs are question.*with_inputs"):
        lmpipe.evaluate(lmpipe.Predict("q -> a"), rows, lambda example, prediction: 1.0, lm=lm)
    assert not lm.requests


def test_a_metric_that_raises_is_named_with_the_users_line() -> None:
    def wrong(example: lmpipe.Example, prediction: Any) -> bool:
        return bool(prediction.answer == example.score)  # the output is `score`

    line = wrong.__code__.co_firstlineno + 1
    with pytest.raises(MetricError, match=rf"no field 'answer'.* at .*test_evaluate\.py:{line}"):
        lmpipe.evaluate(PROGRAM, examples(), wrong, lm=lmpipe.ScriptedLM(lambda _: "## score\n1"))
