"""Rows that are written to disk: the same totals, the same file, nothing kept in memory."""

from __future__ import annotations

import asyncio
import csv
import gc
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import DataError, LMUnavailableError
from lmpipe.evaluation.results import Evaluation, Row
from lmpipe.lm.request import Request
from lmpipe.metrics import Score

PROGRAM = lmpipe.Predict("message -> score: int", retries=0)


def examples(numbers: list[int]) -> list[lmpipe.Example]:
    rows = [lmpipe.Example(message=f"message {n}", score=n % 5) for n in numbers]
    return [row.with_inputs("message") for row in rows]


def says(request: Request) -> str:
    """A number or nonsense, depending on the message."""
    number = int(request.messages[-1].content.partition("message ")[2].split()[0])
    return "nonsense" if number % 7 == 3 else f"## score\n{number % 3}"


def metric(example: lmpipe.Example, prediction: lmpipe.Prediction) -> Score:
    if example.score == 4:
        raise ValueError("no fours")
    near = 1 / (1 + abs(int(prediction.score) - example.score))
    said = {"self": "far"} if near <= 0.3 else {}
    return Score(near, "near enough" if near > 0.3 else "", {"near": near, "third": near / 3}, said)


def evaluated(numbers: list[int], path: Path | None, *, concurrency: int = 8) -> Evaluation:
    lm = lmpipe.ScriptedLM(says, price=(1.0, 3.0))
    return lmpipe.evaluate(
        PROGRAM, examples(numbers), metric, lm=lm, save_to=path, concurrency=concurrency
    )


def summary_of(result: Evaluation) -> list[object]:
    return [
        result.score,
        result.interval,
        result.values,
        result.failures,
        result.parts,
        result.usage,
        result.calls,
        result.fresh_calls,
        result.usd,
        result.spend,
        result.summary(),
        str(result),
    ]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.sampled_from([1, 3, 64]))
def test_rows_on_disk_have_the_same_totals_and_the_same_content(
    numbers: list[int], concurrency: int
) -> None:
    numbers = [0, *numbers]  # one row succeeds: an error is raised if all fail in the same way
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        kept = evaluated(numbers, None, concurrency=concurrency)
        stored = evaluated(numbers, path, concurrency=concurrency)
        assert summary_of(stored) == summary_of(kept)
        assert [row.to_json() for row in stored.rows] == [row.to_json() for row in kept.rows]
        kept.save(Path(folder) / "kept.jsonl")
        assert path.read_bytes() == (Path(folder) / "kept.jsonl").read_bytes()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_a_csv_is_the_same_for_stored_and_kept_rows(numbers: list[int]) -> None:
    numbers = [0, *numbers]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        stored = evaluated(numbers, path)
        evaluated(numbers, None).save(Path(folder) / "kept.csv")
        assert path.read_bytes() == (Path(folder) / "kept.csv").read_bytes()
        assert [row.index for row in stored.rows] == list(range(len(numbers)))


def test_a_row_is_read_back_from_the_file(tmp_path: Path) -> None:
    rows = evaluated([0, 1, 3], tmp_path / "rows.jsonl").rows
    assert rows[0].prediction == {"score": 0}
    assert dict(rows[1].example.inputs) == {"message": "message 1"}
    assert rows[-1].replies == ("nonsense",)
    assert rows[-1].failure is not None
    assert [row.index for row in rows[1:]] == [1, 2]
    with pytest.raises(IndexError):
        rows[3]


def test_the_counts_of_failed_checks_are_read_back(tmp_path: Path) -> None:
    program = lmpipe.Predict(Bounded, retries=1)
    lm = lmpipe.ScriptedLM(lambda request: "[[score]]\n" + str(len(request.messages) - 1))
    path = tmp_path / "rows.jsonl"
    kept = lmpipe.evaluate(program, examples([1, 2]), lambda *_: 1.0, lm=lm)
    stored = lmpipe.evaluate(program, examples([1, 2]), lambda *_: 1.0, lm=lm, save_to=path)
    assert kept.checks.to_json() == {"failed": 2, "mended": 2, "unmet": 0}
    assert stored.checks == kept.checks
    assert [row.checks for row in stored.rows] == [row.checks for row in kept.rows]


class Bounded(lmpipe.Signature):
    """Score it."""

    message: str = lmpipe.Input()
    score: int = lmpipe.Output(ge=2)


def test_rows_with_different_inputs_are_read_back_with_theirs(tmp_path: Path) -> None:
    class Either(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = lmpipe.Predict("message -> score: int")

        def forward(self, message: str = "", other: str = "") -> int:
            return len(message or other)

    rows = [
        lmpipe.Example(**{name: "text"}).with_inputs(name)
        for name in ("message", "message", "other", "message")
    ]
    result = lmpipe.evaluate(
        Either(), rows, lambda example, prediction: True, save_to=tmp_path / "rows.jsonl"
    )
    names = [tuple(row.example.inputs) for row in result.rows]
    assert names == [("message",), ("message",), ("other",), ("message",)]


def test_the_file_gets_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("of an earlier run\n")

    def dies(request: Request) -> str:
        if "message 5" in request.messages[-1].content:
            raise LMUnavailableError("the server is down")
        return "## score\n1"

    with pytest.raises(LMUnavailableError):
        lmpipe.evaluate(
            PROGRAM,
            examples(list(range(9))),
            metric,
            lm=lmpipe.ScriptedLM(dies),
            save_to=path,
            concurrency=1,
        )
    assert path.read_text() == "of an earlier run\n"
    part = (tmp_path / "rows.jsonl.part").read_bytes().splitlines()
    assert [orjson.loads(line)["index"] for line in part] == list(range(5))


def test_an_incomplete_csv_leaves_no_file(tmp_path: Path) -> None:
    def dies(request: Request) -> str:
        raise LMUnavailableError("the server is down")

    with pytest.raises(LMUnavailableError):
        lmpipe.evaluate(
            PROGRAM,
            examples([1]),
            metric,
            lm=lmpipe.ScriptedLM(dies),
            save_to=tmp_path / "rows.csv",
        )
    assert list(tmp_path.glob("*.csv*")) == []


def test_rows_are_not_kept_in_memory(tmp_path: Path) -> None:
    alive: weakref.WeakSet[Traced] = weakref.WeakSet()

    class Traced(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = lmpipe.Predict("message -> score: int")

        def forward(self, message: str) -> object:
            result = type("Result", (), {})()
            alive.add(result)
            return result

    def good(example: lmpipe.Example, prediction: object) -> bool:
        return True

    kept = lmpipe.evaluate(Traced(), examples(list(range(50))), good)
    gc.collect()
    assert len(alive) == 50
    del kept
    result = lmpipe.evaluate(
        Traced(), examples(list(range(50))), good, save_to=tmp_path / "rows.jsonl"
    )
    gc.collect()
    assert (len(result.rows), len(alive)) == (50, 0)


@pytest.mark.parametrize("save", [True, False])
def test_a_generator_is_read_as_rows_are_needed(tmp_path: Path, save: bool) -> None:
    read = 0
    most = 0

    def stream() -> Iterator[lmpipe.Example]:
        nonlocal read
        for example in examples(list(range(40))):
            read += 1
            yield example

    def done(row: Row) -> None:
        nonlocal most
        most = max(most, read - row.index)

    lm = lmpipe.ScriptedLM(lambda request: "## score\n1")
    path = tmp_path / "rows.jsonl" if save else None
    result = lmpipe.evaluate(
        PROGRAM, stream(), metric, lm=lm, concurrency=2, on_row=done, save_to=path
    )
    assert len(result.rows) == 40
    assert most <= 4


def test_an_empty_generator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        lmpipe.evaluate(PROGRAM, iter(()), metric, save_to=tmp_path / "rows.jsonl")


def test_stored_rows_may_be_saved_in_another_format(tmp_path: Path) -> None:
    evaluated([0, 1, 2], tmp_path / "rows.jsonl").save(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert [line["message"] for line in csv.DictReader(file)] == ["", "", ""]


@pytest.mark.parametrize("name", ["rows.txt", "nowhere/rows.jsonl"])
def test_a_file_that_cannot_be_written_is_refused_before_the_lm_is_called(
    tmp_path: Path, name: str
) -> None:
    lm = lmpipe.ScriptedLM(says)
    with pytest.raises(DataError):
        lmpipe.evaluate(PROGRAM, examples([1]), metric, lm=lm, save_to=tmp_path / name)
    assert lm.requests == []


def test_a_file_that_was_changed_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = evaluated([0, 1, 2], path).rows
    path.write_text("shorter\n")
    with pytest.raises(DataError, match=r"rows\.jsonl: row 3 cannot be read back"):
        rows[2]


async def test_a_slow_row_holds_back_at_most_a_window_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmpipe.evaluation.evaluate._MIN_WINDOW", 10)
    ended: list[int] = []
    release = asyncio.Event()

    class Slow(lmpipe.Module):
        def __init__(self) -> None:
            self.ask = lmpipe.Predict("message -> score: int")

        async def forward(self, message: str) -> int:
            if message == "message 0":
                await release.wait()
            return 1

    def good(example: lmpipe.Example, prediction: object) -> bool:
        return True

    def row_ended(row: Row) -> None:
        ended.append(row.index)
        # The window has 16 rows for each run in flight; the slow one is the first of its 32.
        if len(ended) == 31:
            release.set()

    result = await lmpipe.aevaluate(
        Slow(),
        examples(list(range(100))),
        good,
        concurrency=2,
        save_to=tmp_path / "rows.jsonl",
        on_row=row_ended,
    )
    assert ended.index(0) in (31, 32)
    assert len(result.rows) == 100


def test_whole_numbers_of_any_size_are_read_back_with_all_their_digits(tmp_path: Path) -> None:
    [row] = lmpipe.evaluate(
        PROGRAM,
        [lmpipe.Example(message="count", score=2**64 + 1).with_inputs("message")],
        lmpipe.metrics.exact_match("score"),
        lm=lmpipe.ScriptedLM([f"## score\n{2**64 + 1}"]),
        save_to=tmp_path / "rows.jsonl",
    ).rows
    assert (row.score.value, row.example.score) == (1, 2**64 + 1)
    assert row.prediction["score"] == 2**64 + 1
