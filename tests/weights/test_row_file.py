"""Reading training rows, and choosing those to hold out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.training import dpo_rows, sft_rows, write_rows
from hypothesis import given
from hypothesis import strategies as st

from lmpipe.errors import DataError
from lmpipe.weights.row_file import held_out_rows, read_row_file
from lmpipe.weights.settings import TrainingSettings


def test_rows_are_read_in_file_order(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", sft_rows(3))
    assert read_row_file(path, "sft") == sft_rows(3)
    assert read_row_file(write_rows(path, dpo_rows(2)), "dpo") == dpo_rows(2)


TURN = {"role": "user", "content": "x"}
ANSWER = {"role": "assistant", "content": "y"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1], "found list"),
        ({"prompt": [TURN]}, "found prompt"),
        ({"prompt": "x", "completion": [ANSWER]}, "prompt must be a list of turns"),
        ({"prompt": [], "completion": [ANSWER]}, "prompt must be a list of turns"),
        ({"prompt": [{**TURN, "content": None}], "completion": [ANSWER]}, "prompt must be a list"),
        ({"prompt": [TURN], "completion": [TURN]}, "one turn of the assistant"),
        ({"prompt": [TURN], "completion": [ANSWER, ANSWER]}, "one turn of the assistant"),
        ({"prompt": [TURN], "chosen": [ANSWER], "rejected": [ANSWER]}, "method='sft' needs"),
    ],
)
def test_an_invalid_row_is_an_error_with_its_line_number(
    tmp_path: Path, row: Any, message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(sft_rows(1)[0]) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=rf"line 2: .*{message}"):
        read_row_file(path, "sft")


def test_broken_empty_and_missing_files_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(DataError, match="cannot be read"):
        read_row_file(path, "sft")
    path.write_text("\n\n")
    with pytest.raises(DataError, match="no training rows"):
        read_row_file(path, "sft")
    path.write_text('{"prompt": ')
    with pytest.raises(DataError, match="line 1: not valid JSON"):
        read_row_file(path, "sft")


@given(
    prompts=st.lists(st.integers(0, 8), min_size=1, max_size=40),
    share=st.floats(0.0, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_held_out_rows_share_no_prompt_with_training_rows(
    prompts: list[int], share: float, seed: int
) -> None:
    rows = [{"prompt": [{"role": "user", "content": str(p)}]} for p in prompts]
    settings = TrainingSettings(eval_fraction=share, seed=seed)
    held = held_out_rows(rows, settings)
    assert held == sorted(set(held)) == held_out_rows(rows, settings)
    assert len(held) < len(rows)
    assert len(held) <= max(round(share * len(rows)), 1 if share else 0)
    trained = {prompts[i] for i in range(len(rows)) if i not in held}
    assert trained.isdisjoint(prompts[i] for i in held)


def test_the_seed_and_the_fraction_choose_the_held_out_rows() -> None:
    rows = sft_rows(50)
    first = held_out_rows(rows, TrainingSettings())
    assert len(first) == 5
    assert first != held_out_rows(rows, TrainingSettings(seed=1))
    assert held_out_rows(rows, TrainingSettings(eval_fraction=0.0)) == []
