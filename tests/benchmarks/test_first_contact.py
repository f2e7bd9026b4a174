"""The first-contact benchmark scores answers and draws its table; no LM is asked here."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_server import FakeServer

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

ORDER: dict[str, Any] = {
    "customer": "Eva Novak",
    "city": "Brno",
    "items": [{"product": "oak shelf", "quantity": 2, "unit_price": 89.0}],
    "delivery": "express",
}


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module of the tasks, imported as the benchmark does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("contact.tasks")


def test_an_order_is_scored_by_its_facts(tasks: Any) -> None:
    row = {"email": "…", "order": ORDER}
    found = {**ORDER, "city": "Prague"}
    assert tasks.score("orders", row, {"order": ORDER}) == 1.0
    assert tasks.score("orders", row, {"order": found}) == 0.75


def test_an_invented_item_lowers_the_score(tasks: Any) -> None:
    row = {"email": "…", "order": ORDER}
    found = {**ORDER, "items": [*ORDER["items"], {"product": "lamp", "quantity": 1}]}
    assert tasks.score("orders", row, {"order": found}) == 0.8


@pytest.mark.parametrize(("found", "value"), [(18, 1.0), (18.0, 1.0), (None, 0.0), (17, 0.0)])
def test_a_problem_is_scored_by_its_number(tasks: Any, found: float | None, value: float) -> None:
    assert tasks.score("gsm8k", {"answer": 18.0}, {"answer": found}) == value


def test_a_missing_detail_of_a_ticket_is_right_if_there_is_none(tasks: Any) -> None:
    row = {"team": "billing", "order": None, "product": "lamp", "amount": 2.5}
    found = {"team": "billing", "order": None, "product": "Lamp", "amount": 2}
    assert tasks.score("tickets", row, found) == pytest.approx((1 + 2 / 3) / 2)


def test_the_orders_are_read(tasks: Any) -> None:
    rows = tasks.read_rows("orders", BENCHMARKS / "contact" / "orders.jsonl", 20)
    assert len(rows) == 20
    assert all(tasks.score("orders", row, {"order": row["order"]}) == 1.0 for row in rows)


def test_the_table_shows_both_sides_of_a_model(tmp_path: Path) -> None:
    rows = [{"score": 1.0, "unreadable": False}, {"score": 0.0, "unreadable": True}]
    for side, calls in (("dspy", 3), ("lmpipe", 2)):
        cell = {"version": "1", "rows": rows, "calls": calls, "refused": 0}
        (tmp_path / f"qwen-1.5b-gsm8k-{side}.json").write_text(json.dumps(cell))
    command = [sys.executable, str(BENCHMARKS / "first_contact.py"), "--report", str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "| qwen-1.5b | gsm8k | 0.50 | 1 of 2 | 3 | 0.50 | 1 of 2 | 2 |" in done.stdout


def answered(task: str, rows: list[dict[str, Any]], reply: str, folder: Path) -> list[Any]:
    """Return the score of each row, and whether it is unreadable, on a server that says this."""
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with FakeServer(lambda body: reply) as server:
        command = [
            *(sys.executable, "-m", "contact.lmpipe_side", task, "--model", "m"),
            *("--url", server.base_url, "--file", str(folder / "rows.jsonl"), "--rows", "9"),
            *("--out", str(folder / "out.json"), "--in-flight", "2"),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])}
        subprocess.run(command, check=True, env=environment, cwd=BENCHMARKS.parent)
    found = json.loads((folder / "out.json").read_text())["rows"]
    return [(row["score"], row["unreadable"]) for row in found]


def test_the_side_of_lmpipe_scores_each_row(tmp_path: Path) -> None:
    rows = [{"text": "Play jazz", "label": "music"}, {"text": "Is it raining?", "label": "weather"}]
    found = answered("intents7", rows, "[[label]]\nmusic", tmp_path)
    assert sorted(found) == [(0.0, False), (1.0, False)]


def test_the_side_of_lmpipe_scores_nested_outputs(tmp_path: Path) -> None:
    rows = [{"email": "Two oak shelves, please.", "order": ORDER}]
    assert answered("orders", rows, f"[[order]]\n{json.dumps(ORDER)}", tmp_path) == [(1.0, False)]


def test_an_unreadable_reply_is_counted(tmp_path: Path) -> None:
    rows = [{"text": "Play jazz", "label": "music"}]
    assert answered("intents7", rows, "I would rather not.", tmp_path) == [(0.0, True)]
