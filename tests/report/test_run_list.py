"""The runs in a folder, chosen and sorted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.pages import ROOT

from lmpipe.cli.runs import Sort
from lmpipe.errors import ConfigError
from lmpipe.report.run_list import SORT_KEYS, Chosen, list_runs

SAMPLE = ROOT / "runs" / "sample"


def run(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "folder": f"runs/{name}",
        "started": "2026-11-26T20:32:09+0000",
        "program": "tickets",
        "status": "done",
        "optimizer": "random-search",
        "compiled": 0.5,
        "difference": 0.1,
        "calls": 10,
        "usd": 1.0,
        "seconds": 5.0,
        **changes,
    }


A = run("a", started="2026-11-25T23:59:00+0000", compiled=0.9, usd=3.0)
B = run("b", program="Intents", optimizer="gepa", compiled=0.7, usd=0.2)
C = run("c", started="2026-11-27T00:01:00+0000", compiled=None, usd=None, status="interrupted")


def names(**chosen: Any) -> str:
    return "".join(item["folder"][-1] for item in Chosen(**chosen).of([C, A, B]))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, "abc"),
        ({"program": "intent"}, "b"),
        ({"optimizer": "search"}, "ac"),
        ({"finished": True}, "ab"),
        ({"finished": False}, "c"),
        ({"min_score": 0.7}, "ab"),
        ({"max_usd": 0.5}, "b"),
        ({"since": "2026-11-26"}, "bc"),
        ({"until": "2026-11-26"}, "ab"),
        ({"since": "2026-11-26", "until": "2026-11-26"}, "b"),
        ({"until": "2026-11-26T20:00"}, "a"),
    ],
)
def test_runs_are_chosen(chosen: dict[str, Any], expected: str) -> None:
    assert names(**chosen) == expected


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"sort": "score"}, "cba"),
        ({"sort": "usd", "reverse": True}, "abc"),
        ({"sort": "program"}, "bac"),
        ({"sort": "score", "most": 2}, "ba"),
        ({"sort": "score", "most": 1, "reverse": True}, "a"),
        ({"most": 5}, "abc"),
    ],
)
def test_runs_are_sorted_and_the_largest_are_taken(chosen: dict[str, Any], expected: str) -> None:
    assert names(**chosen) == expected


@pytest.mark.parametrize("key", SORT_KEYS)
def test_every_key_sorts_runs_of_a_folder(key: Any) -> None:
    assert len(Chosen(sort=key).of(list_runs(SAMPLE))) == 1


def test_the_command_line_has_every_key() -> None:
    assert [item.value for item in Sort] == list(SORT_KEYS)


@pytest.mark.parametrize("text", ["yesterday", "20261126", "2026-11-26 18:00", "2026-13-01"])
def test_a_date_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--since {text}: expected a date"):
        Chosen(since=text)


def test_a_score_in_percent_is_refused() -> None:
    with pytest.raises(ConfigError, match="--min-score 80: scores are between 0 and 1"):
        Chosen(min_score=80.0)


def test_an_entry_has_what_the_manifest_says() -> None:
    (entry,) = list_runs(SAMPLE)
    manifest = json.loads((Path(entry["folder"]) / "manifest.json").read_text(encoding="utf-8"))
    total = manifest["spend"]["total"]
    assert (entry["calls"], entry["usd"]) == (total["calls"], total["usd"])
    assert entry["compiled"] == manifest["test"]["scores"]["compiled"]["score"]
    assert (entry["lm"], entry["seconds"]) == (manifest["student"]["model"], manifest["seconds"])
