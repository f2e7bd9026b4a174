"""Labels in the types of a prediction's outputs."""

from __future__ import annotations

import datetime
import enum
from typing import Any

import pytest
from pydantic import BaseModel, Field

import lmpipe
from lmpipe.data.example import Example
from lmpipe.metrics import with_typed_labels


class Rank(enum.Enum):
    LOW = enum.auto()
    HIGH = enum.auto()


class Invoice(BaseModel):
    total: int
    due_day: datetime.date | None = Field(default=None, alias="dueDay")


class Read(lmpipe.Signature):
    """Read an invoice."""

    text: str = lmpipe.Input()
    invoice: Invoice = lmpipe.Output()
    rank: Rank = lmpipe.Output()
    note: str = lmpipe.Output()


GOLD = {"invoice": {"total": 5, "due_day": "2026-01-02"}, "rank": "HIGH", "note": "paid"}
ROW = Example(text="five", **GOLD, other={"total": 1}).with_inputs("text")


def prediction() -> Read:
    values = {"invoice": Invoice(total=5), "rank": Rank.LOW, "note": "", "text": "five"}
    return Read.model_validate(values)


def test_labels_are_read_like_the_outputs_of_the_same_names() -> None:
    typed = with_typed_labels(ROW, prediction())
    assert (typed.invoice.total, typed.invoice.due_day) == (5, datetime.date(2026, 1, 2))
    assert typed.rank is Rank.HIGH
    assert (typed.note, typed.other) == ("paid", {"total": 1})


def test_a_typed_row_keeps_its_json_and_its_identity() -> None:
    typed = with_typed_labels(ROW, prediction())
    assert typed.to_json() == ROW.to_json()
    assert typed == ROW
    assert typed.inputs == ROW.inputs


@pytest.mark.parametrize("label", [{"sum": 5}, ["several", "answers"], "five", None])
def test_a_label_that_is_not_valid_for_its_output_stays(label: Any) -> None:
    row = Example(text="five", invoice=label).with_inputs("text")
    assert with_typed_labels(row, prediction()).invoice == label


def test_an_input_with_the_name_of_an_output_stays() -> None:
    row = Example(text="five", invoice={"total": 5}).with_inputs("text", "invoice")
    assert with_typed_labels(row, prediction()).invoice == {"total": 5}


def test_a_metric_of_an_evaluation_gets_typed_labels_and_its_rows_keep_json() -> None:
    reply = '{"invoice": {"total": 5}, "rank": "HIGH", "note": "paid"}'
    lm = lmpipe.ScriptedLM(lambda _: reply)

    def total(example: Example, prediction: Any) -> bool:
        return bool(
            example.invoice.total == prediction.invoice.total and example.rank is prediction.rank
        )

    result = lmpipe.evaluate(lmpipe.Predict(Read, layout="json"), [ROW], total, lm=lm)
    assert result.score == 1
    assert result.rows[0].example.invoice == GOLD["invoice"]
