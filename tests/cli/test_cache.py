"""`lmpipe cache stats | prune | clear | export | import`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.reply_cache import REPLY, execute, fill, read

from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request

Cli = Callable[..., Any]
OTHER = Request(LM("openai/other"), (Message("user", "capital?"),))


@pytest.fixture
def cached(folder: Path) -> str:
    """Fill a cache with three replies of one LM and one of another."""
    fill(folder / "replies", "1", "2", "3")
    fill(folder / "replies", "4", request=OTHER)
    return "replies"


def keys(folder: Path) -> list[str]:
    return sorted(key for (key,) in execute(folder / "replies", "SELECT key FROM Cache"))


def test_stats_show_replies_by_lm(cli: Cli, cached: str) -> None:
    out = cli("cache", "stats", "--cache", cached).stdout
    assert "replies  4" in out
    assert "openai/other" in out
    assert "on disk" in out


def test_stats_as_json(cli: Cli, cached: str) -> None:
    value = json.loads(cli("cache", "stats", "--cache", cached, "--json").stdout)
    assert (value["folder"], value["replies"]) == ("replies", 4)
    assert value["models"]["vllm/m"]["replies"] == 3
    assert value["oldest"] <= value["newest"]


def test_stats_before_the_first_call(cli: Cli) -> None:
    result = cli("cache", "stats")
    assert result.exit_code == 0
    assert "the cache is empty" in result.stdout


def test_stats_of_the_cache_in_the_environment_variable(
    cli: Cli, cached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMPIPE_CACHE", cached)
    assert "replies  4" in cli("cache", "stats").stdout


@pytest.mark.parametrize(
    "arguments", [["stats"], ["prune", "--model", "m"], ["clear", "--yes"], ["export", "x.jsonl"]]
)
def test_a_missing_cache(cli: Cli, folder: Path, arguments: list[str]) -> None:
    result = cli("cache", *arguments, "--cache", "missing")
    assert result.exit_code == 2
    assert "--cache missing: no such folder" in result.stderr
    assert not (folder / "missing").exists()


def test_a_damaged_cache(cli: Cli, cached: str, folder: Path) -> None:
    (folder / cached / "cache.db").write_bytes(b"no database" * 1000)
    result = cli("cache", "stats", "--cache", cached)
    assert result.exit_code == 2
    assert "delete the folder" in result.stderr


def test_prune_by_age(cli: Cli, cached: str, folder: Path) -> None:
    execute(
        folder / cached, "UPDATE Cache SET store_time = store_time - 86400 * 31 WHERE key = '2'"
    )
    result = cli("cache", "prune", "--cache", cached, "--older-than", "30d")
    assert result.stdout == "dropped 1 reply; 3 replies left in replies\n"
    assert keys(folder) == ["1", "3", "4"]


def test_prune_by_lm(cli: Cli, cached: str, folder: Path) -> None:
    cli("cache", "prune", "--cache", cached, "--model", "vllm/m")
    assert keys(folder) == ["4"]


def test_prune_of_an_unknown_lm_names_the_known_ones(cli: Cli, cached: str) -> None:
    result = cli("cache", "prune", "--cache", cached, "--model", "vllm/typo")
    assert result.exit_code == 0
    assert "the cache has vllm/m, openai/other" in result.stderr


def test_prune_by_size(cli: Cli, cached: str, folder: Path) -> None:
    assert cli("cache", "prune", "--cache", cached, "--max-size", "1MB").exit_code == 0
    assert len(keys(folder)) == 4
    assert cli("cache", "prune", "--cache", cached, "--max-size", "1kB").exit_code == 0
    assert keys(folder) == []


def test_prune_needs_a_criterion(cli: Cli, cached: str) -> None:
    result = cli("cache", "prune", "--cache", cached)
    assert result.exit_code == 2
    assert "--older-than 30d" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("--older-than", "soon", "expected an age such as 90s"),
        ("--older-than", "30", "expected an age such as 90s"),
        ("--max-size", "2 apples", "expected a size such as 2GB"),
    ],
)
def test_prune_refuses_a_malformed_value(
    cli: Cli, cached: str, option: str, value: str, remedy: str
) -> None:
    result = cli("cache", "prune", "--cache", cached, option, value)
    assert result.exit_code == 2
    assert option in result.stderr
    assert remedy in result.stderr


def test_clear_drops_all(cli: Cli, cached: str, folder: Path) -> None:
    result = cli("cache", "clear", "--cache", cached, "--yes")
    assert result.stdout == "dropped 4 replies in replies\n"
    assert keys(folder) == []


def test_clear_needs_confirmation(cli: Cli, cached: str, folder: Path) -> None:
    result = cli("cache", "clear", "--cache", cached)
    assert result.exit_code == 2
    assert "add --yes" in result.stderr
    assert len(keys(folder)) == 4


@pytest.mark.parametrize(("answer", "left", "code"), [("y\n", 0, 0), ("n\n", 4, 1)])
def test_clear_asks_on_a_terminal(
    cli: Cli,
    cached: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    left: int,
    code: int,
) -> None:
    monkeypatch.setattr("lmpipe.cli.cache._can_ask", lambda: True)
    result = cli("cache", "clear", "--cache", cached, stdin=answer)
    assert "drop 4 replies in replies?" in result.stdout
    assert (result.exit_code, len(keys(folder))) == (code, left)


def test_clear_before_the_first_call(cli: Cli) -> None:
    assert cli("cache", "clear", "--yes").exit_code == 0


def test_an_export_can_be_imported(cli: Cli, cached: str, folder: Path) -> None:
    result = cli("cache", "export", "all.jsonl", "--cache", cached)
    assert "exported 4 replies" in result.stderr
    assert len((folder / "all.jsonl").read_bytes().splitlines()) == 4
    result = cli("cache", "import", "all.jsonl", "--cache", "another")
    assert result.stdout == "imported 4 replies into another; 0 were there already\n"
    assert read(folder / "another", "4") == REPLY.as_cached()


def test_export_of_one_lm_to_standard_output(cli: Cli, cached: str) -> None:
    (line,) = cli(
        "cache", "export", "-", "--cache", cached, "--model", "openai/other"
    ).stdout.splitlines()
    assert json.loads(line)["asked"] == "capital?"


def test_export_reports_damaged_entries(cli: Cli, cached: str, folder: Path) -> None:
    execute(folder / cached, "UPDATE Cache SET value = ? WHERE key = '2'", b"damaged")
    result = cli("cache", "export", "all.jsonl", "--cache", cached)
    assert result.exit_code == 0
    assert "left out 1 entry that is damaged or old: 2 (not a stored reply)" in result.stderr


def test_export_to_a_missing_folder(cli: Cli, cached: str) -> None:
    result = cli("cache", "export", "missing/all.jsonl", "--cache", cached)
    assert result.exit_code == 2
    assert "create it first" in result.stderr


def test_import_of_a_missing_file(cli: Cli) -> None:
    result = cli("cache", "import", "missing.jsonl")
    assert result.exit_code == 2
    assert "missing.jsonl: no such file" in result.stderr


def test_import_names_damaged_lines(cli: Cli, cached: str, folder: Path) -> None:
    cli("cache", "export", "all.jsonl", "--cache", cached)
    file = folder / "all.jsonl"
    file.write_bytes(file.read_bytes().replace(b"capital?", b"capitol?"))
    result = cli("cache", "import", "all.jsonl", "--cache", "another")
    assert result.exit_code == 2
    assert "all.jsonl:4: wrong checksum" in result.stderr
    assert not (folder / "another").exists()
