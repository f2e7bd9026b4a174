"""`lmpipe history`: the last LM calls of the cache, or of a run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.reply_cache import execute, fill

from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request
from lmpipe.state.usage import Usage

Cli = Callable[..., Any]


def asking(text: str) -> Request:
    return Request(LM("openai/other"), (Message("system", "Be brief."), Message("user", text)))


@pytest.fixture
def cached(folder: Path) -> Path:
    """A cache with three replies, stored in this order."""
    replies = folder / "replies"
    for key, text in {"1": "one", "2": "two", "3": "three"}.items():
        reply = Reply(f"echo {text}", usage=Usage(7, 2), seconds=0.5, reasoning="hm")
        fill(replies, key, request=asking(text), reply=reply)
    return replies


def test_it_shows_the_last_calls_of_the_cache(cli: Cli, cached: Path) -> None:
    out = cli("history", "-n", "2", "--cache", "replies").stdout
    first, second = out.split("\n\n━━━")
    assert "[last turn]\ntwo\n\n[thoughts]\nhm\n\n[reply]\necho two\n" in first
    assert "openai/other\n[last turn]\nthree\n" in second
    assert "(7 prompt tokens, 2 for the reply, 0.50 s)" in second
    assert "echo one" not in out


def test_as_json_each_call_is_a_line(cli: Cli, cached: Path) -> None:
    lines = cli("history", "--cache", "replies", "--json").stdout.splitlines()
    values = [json.loads(line) for line in lines]
    assert [value["asked"] for value in values] == ["one", "two", "three"]
    assert values[0]["reply"]["text"] == "echo one"
    assert values[0]["lm"] == "openai/other"


def test_before_the_first_call_there_are_none(cli: Cli) -> None:
    assert cli("history").stdout == "no LM calls\n"


def test_a_damaged_entry_is_left_out(cli: Cli, cached: Path) -> None:
    execute(cached, "UPDATE Cache SET value = x'00' WHERE key = '2'")
    out = cli("history", "--cache", "replies").stdout
    assert "echo one" in out
    assert "two" not in out


@pytest.fixture
def run(cli: Cli, folder: Path) -> str:
    """A run folder, whose calls are in the default cache."""
    result = cli("compile", "colours.py", "--json")
    assert result.exit_code == 0, result.stderr
    (found,) = (folder / "runs").iterdir()
    return str(found)


def test_it_shows_the_last_calls_of_a_run(cli: Cli, run: str) -> None:
    lines = (Path(run) / "calls.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    out = cli("history", run, "-n", "3").stdout
    assert out.count("━━━") == 3
    assert f"{last['subject']}, row {last['index']}\n[last turn]\n" in out
    assert "cost: $0.00" in out


def test_without_the_cache_the_calls_of_a_run_have_no_texts(
    cli: Cli, run: str, folder: Path
) -> None:
    (folder / "empty").mkdir()
    out = cli("history", run, "-n", "1", "--cache", "empty").stdout
    assert "(its texts are not in the cache empty)\ncost: $0.00\n" in out


def test_it_shows_the_calls_of_one_predictor_of_a_run(cli: Cli, run: str) -> None:
    assert cli("history", run, "--predictor", "nobody").stdout == "no LM calls\n"


def test_a_predictor_without_a_run_is_refused(cli: Cli) -> None:
    result = cli("history", "--predictor", "route")
    assert (result.exit_code, "--predictor is for the calls of a run" in result.stderr) == (2, True)


def test_a_folder_that_is_no_run_is_refused(cli: Cli, folder: Path) -> None:
    result = cli("history", ".")
    assert result.exit_code == 2
    assert "is not a run folder" in result.stderr
