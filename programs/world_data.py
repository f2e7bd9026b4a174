"""The passages of the invented world, and its questions as the data of recipes."""

from __future__ import annotations

import hashlib
from typing import Any

import lmpipe
from programs.json_lines import DATA
from programs.worlds.facts import FactIndex
from programs.worlds.passages import read_sentence, sentences
from programs.worlds.solver import Proof, solve

FOLDER = DATA / "world"
_FILE = FOLDER / "passages.jsonl"
PASSAGES = lmpipe.BM25(_FILE)
# For tools that read the passages: their stored results are of this version.
VERSION = hashlib.sha256(_FILE.read_bytes()).hexdigest()[:16]
BY_ID = {passage.id: passage for passage in PASSAGES.passages}
BY_TITLE = {passage.title: passage for passage in PASSAGES.passages}
FACTS = FactIndex(
    read_sentence(passage.title, sentence)
    for passage in PASSAGES.passages
    for sentence in sentences(passage.text)
)


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
    return {**row, "passages": [BY_ID[one].to_json() for one in row["support"]]}


def with_turns(row: dict[str, Any]) -> dict[str, Any]:
    """Add the supporting passages, and the history for a predictor that takes it as turns."""
    return {**with_passages(row), "turns": row["history"]}


def with_proof(row: dict[str, Any]) -> dict[str, Any]:
    """Add the supporting passages, the facts in them as notes, and the words that state them.

    They are for demonstrations of predictors that answer from passages or notes, or cite.
    """
    notes = [f"{fact.rstrip('.')}." for fact in row["reasoning"].split(". ")]
    return {**with_passages(row), "notes": notes, "citations": _citations(row)}


def _citations(row: dict[str, Any]) -> list[dict[str, str]]:
    """The sentences of the passages that state the facts of a proof."""
    facts = solve(Proof.of_json(row["proof"]), FACTS).facts
    return [
        {"id": BY_TITLE[fact.subject].id, "quote": sentence}
        for fact in facts
        for sentence in sentences(BY_TITLE[fact.subject].text)
        if read_sentence(fact.subject, sentence) == fact
    ]


def _questions(name: str) -> lmpipe.Source:
    return lmpipe.Source(
        FOLDER / f"{name}.jsonl",
        inputs=["question"],
        required=["answer", "reasoning"],
        convert=with_proof,
    )
