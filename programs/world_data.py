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
    return _questions(f"questions_{split}")


def years_between(split: str) -> lmpipe.Source:
    """Return a split of the questions that need a calculation: `train`, `val` or `test`."""
    return _questions(f"years_{split}")


def conversations(split: str) -> lmpipe.Source:
    """Return a split of the conversations: `train`, `val` or `test`."""
    return lmpipe.Source(
        FOLDER / f"conversations_{split}.jsonl",
        inputs=["history", "question"],
        required=["standalone", "answer"],
        convert=with_turns,
    )


def judgements(split: str) -> lmpipe.Source:
    """Return a split of the answers to be judged: `train`, `val` or `test`."""
    inputs = ("question", "reference", "candidate")
    return lmpipe.Source(FOLDER / f"judgements_{split}.jsonl", inputs=inputs, required=["correct"])


def with_passages(row: dict[str, Any]) -> dict[str, Any]:
    """Add the supporting passages, for demonstrations of predictors that answer from passages."""
    passages = [BY_ID[one].to_json() for one in row["support"]]
    return {**row, "passages": passages, "citations": row["support"]}


def with_turns(row: dict[str, Any]) -> dict[str, Any]:
    """Add the supporting passages, and the history for a predictor that takes it as turns."""
    return {**with_passages(row), "turns": row["history"]}


def with_proof(row: dict[str, Any]) -> dict[str, Any]:
    """Add the supporting passages, and the facts in them for predictors that answer from notes."""
    notes = [f"{fact.rstrip('.')}." for fact in row["reasoning"].split(". ")]
    return {**with_passages(row), "notes": notes}


def _questions(name: str) -> lmpipe.Source:
    return lmpipe.Source(
        FOLDER / f"{name}.jsonl",
        inputs=["question"],
        required=["answer", "reasoning"],
        convert=with_proof,
    )
