"""Evaluations: totals, files, and failures by kind."""

from __future__ import annotations

import asyncio
import csv
import inspect
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.fake_server import FakeServer
from helpers.world import things

import lmpipe
from lmpipe.errors import (
    CallError,
    ConfigError,
    DataError,
    LMRequestError,
    MetricError,
)
from lmpipe.evaluation.evaluate import RunOptions, run_pairs
from lmpipe.evaluation.results import Evaluation, Failure, Row
from lmpipe.lm.call import Call
from lmpipe.lm.concurrency import loop
from lmpipe.lm.request import Reply, Request
from lmpipe.metrics import Score, exact_match
from lmpipe.settings import configured_lm
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


METRIC = exact_match("score")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            lambda message: 1,
            r"the program is <function.*instance of a lmpipe\.Module.*@lmpipe\.predict",
        ),
        (lmpipe.Module, r"the program is the class Module: give an instance, Module\(\)"),
        ("answer", "the program is 'answer'"),
    ],
)
def test_what_is_no_program_is_refused_with_a_remedy(program: Any, message: str) -> None:
    with pytest.raises(CallError, match=message):
        lmpipe.evaluate(program, examples(), METRIC)


def test_plain_dicts_as_data_are_refused_with_a_remedy() -> None:
    rows: Any = [{"message": "no. 1", "score": 1}]
    with pytest.raises(DataError, match=r"row 1 is .*lmpipe\.Example\(\*\*row\)\.with_inputs"):
        lmpipe.evaluate(PROGRAM, rows, METRIC)
    with pytest.raises(DataError, match=r"row 1 is .*lmpipe\.Example"):
        lmpipe.evaluate(PROGRAM, iter(rows), METRIC)


def test_the_lm_of_an_evaluation_may_be_a_name() -> None:
    seen: list[str] = []

    class Names(lmpipe.Module):
        def forward(self, message: str) -> int:
            seen.append(configured_lm().model)
            return 1

    lmpipe.evaluate(Names(), examples(1), lambda example, prediction: 1.0, lm="openai/m")
    assert seen == ["openai/m"]
    with pytest.raises(ConfigError, match="not an LM: 5"):
        lmpipe.evaluate(PROGRAM, examples(1), METRIC, lm=5)  # type: ignore[arg-type]


def test_an_evaluation_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", shown)
    lm = lmpipe.ScriptedLM(says_one)
    lmpipe.evaluate(PROGRAM, examples(), METRIC, lm=lm)
    assert "evaluating, score so far 33.3%" in shown.getvalue()
    assert "3/3" in shown.getvalue()
    shown.truncate(0)
    lmpipe.evaluate(PROGRAM, examples(), METRIC, lm=lm, progress=False)
    assert "evaluating" not in shown.getvalue()


def test_an_evaluation_prints_as_one_line() -> None:
    assert repr(evaluated()) == f"<Evaluation {evaluated()}>"
    assert "\n" not in repr(evaluated())


INTERRUPTED = """
import asyncio, os, signal, lmpipe

class Waits(lmpipe.Module):
    async def forward(self, message: str) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

rows = [lmpipe.Example(message="m", score=1).with_inputs("message")]
lmpipe.configure(cache=False)
lmpipe.evaluate(Waits(), rows, lambda example, prediction: 1.0)
"""


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_in_python_ends_with_one_message_and_few_lines(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    *frames, message = done.stderr.splitlines()
    assert message.startswith("KeyboardInterrupt: the evaluation was stopped; replies that arrived")
    assert len(frames) < 12


def test_cut_and_refused_replies_are_failures_of_their_own_kinds() -> None:
    def script(request: Request) -> str | Reply:
        asked = request.messages[-1].content
        if "no. 0" in asked:
            return Reply("## score\n0", finish="length")
        return Reply("", refusal="I would rather not.") if "no. 1" in asked else "## score\n2"

    result = lmpipe.evaluate(
        PROGRAM, examples(), exact_match("score"), lm=lmpipe.ScriptedLM(script)
    )
    assert result.failures == {"cut": 1, "refusal": 1}
    assert result.summary()["failures"] == {"cut": 1, "refusal": 1}
    cut, refused, good = result.rows
    assert cut.failure is not None
    assert (cut.failure.raw, cut.score.value, good.score.value) == ("## score\n0", 0.0, 1.0)
    assert refused.failure is not None
    assert refused.failure.raw == "I would rather not."
    assert len(refused.calls) == 1


def test_a_reply_that_is_no_text_fails_its_row_and_not_the_evaluation() -> None:
    def say(body: dict[str, Any]) -> Any:
        return 5 if "no. 1" in body["messages"][-1]["content"] else "## score\n0"

    with FakeServer(say) as server:
        lm = lmpipe.LM("vllm/m", base_url=server.base_url)
        result = lmpipe.evaluate(PROGRAM, examples(), exact_match("score"), lm=lm)
    assert result.failures == {"request": 1}
    assert result.rows[0].score.value == 1.0


def test_a_prompt_that_a_content_filter_refuses_fails_its_row_as_a_refusal() -> None:
    flagged = {"error": {"code": "content_filter", "message": "flagged"}}
    with FakeServer(lambda body: "## score\n0") as server:
        server.fail(1, "400", body=flagged)
        lm = lmpipe.LM("vllm/m", base_url=server.base_url)
        result = lmpipe.evaluate(PROGRAM, examples(), exact_match("score"), lm=lm)
    assert result.failures == {"refusal": 1}


def waiting_call(waited: float, seconds: float) -> Call:
    return Call("k", "x", "task", "m", None, Reply("", seconds=seconds), waited)


def test_the_latency_of_a_row_is_without_waiting() -> None:
    calls = (waiting_call(3.0, 1.0), waiting_call(4.0, 1.5))
    rows = [replace(row(0, Score(1.0), 10.0), calls=calls)]
    assert Evaluation(rows).latency() == 3.0
    assert Evaluation(rows).waiting() == 7.0


def test_calls_that_wait_at_the_same_time_leave_at_least_the_longest_call() -> None:
    calls = (waiting_call(8.0, 1.0), waiting_call(8.0, 1.5))
    assert Evaluation([replace(row(0, Score(1.0), 10.0), calls=calls)]).latency() == 1.5
