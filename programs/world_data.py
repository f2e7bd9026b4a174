"""The passages of the invented world, and its questions as the data of recipes."""

from __future__ import annotations

from typing import Any

import lmpipe
from lmpipe.retrieval import BM25
from programs.json_lines import DATA

FOLDER = DATA / "world"
PASSAGES = BM25(FOLDER / "passages.jsonl")
BY_ID = {passage.id: passage for passage in PASSAGES.passages}
BY_TITLE = {passage.title: passage for passage in PASSAGES.passages}


def questions(split: str) -> lmpipe.Source:
    """Return a split of the questions: `train`, `val` or `test`."""
    return _world(f"questions_{split}", "question")


def years_between(split: str) -> lmpipe.Source:
    """Return a split of the questions that need a calculation: `train`, `val` or `test`."""
    return _world(f"years_{split}", "question")


def conversations(split: str) -> lmpipe.Source:
    """Return a split of the conversations: `train`, `val` or `test`."""
    return _world(f"conversations_{split}", "history", "question")


def judgements(split: str) -> lmpipe.Source:
    """Return a split of the answers to be judged: `train`, `val` or `test`."""
    inputs = ("question", "reference", "candidate")
    return lmpipe.Source(FOLDER / f"judgements_{split}.jsonl", inputs=inputs, required=["correct"])


def _world(name: str, *inputs: str) -> lmpipe.Source:
    return lmpipe.Source(
        FOLDER / f"{name}.jsonl", inputs=inputs, required=["answer"], convert=with_passages
    )


def with_passages(row: dict[str, Any]) -> dict[str, Any]:
    """Add the supporting passages, for demonstrations of a predictor that answers from passages."""
    return {**row, "passages": [BY_ID[one].to_json() for one in row["support"]]}
