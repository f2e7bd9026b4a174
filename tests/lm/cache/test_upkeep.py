"""Counting, pruning, clearing, exporting and importing a cache that others may use."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
from helpers.reply_cache import (
    KEY,
    LONG,
    REPLY,
    REQUEST,
    execute,
    fill,
    locked,
    one_warning,
    read,
    stored_keys,
)

from lmpipe.errors import ConfigError, DataError
from lmpipe.lm.cache import upkeep
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.lm import LM
from lmpipe.lm.message import Message
from lmpipe.lm.request import Request

OTHER = Request(LM("openai/other"), (Message("user", "capital?"),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with three replies of one LM and one of another."""
    folder = tmp_path / "replies"
    fill(folder, "1", "2", "3")
    fill(folder, "4", request=OTHER)
    return folder


def lines(folder: Path, **options: str) -> list[bytes]:
    return list(upkeep.export(folder, on_damage=fail, **options))


def fail(key: str, error: ValueError) -> None:
    raise AssertionError((key, error))


def test_stats_count_replies_by_lm(folder: Path) -> None:
    stats = upkeep.stats(folder)
    assert (stats.replies, list(stats.models)) == (4, ["vllm/m", "openai/other"])
    assert (stats.models["vllm/m"].replies, stats.models["openai/other"].replies) == (3, 1)
    assert stats.bytes >= (folder / "cache.db").stat().st_size
    assert stats.oldest is not None
    assert stats.newest is not None
    assert stats.oldest <= stats.newest


def test_stats_of_nothing(tmp_path: Path) -> None:
    stats = upkeep.stats(tmp_path / "missing")
    assert (stats.replies, stats.bytes, stats.oldest, stats.models) == (0, 0, None, {})
    assert not (tmp_path / "missing").exists()


def test_stats_count_the_replies_of_an_open_cache(folder: Path) -> None:
    cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    cache.flush()
    assert upkeep.stats(folder).replies == 5
    cache.close()


def test_stats_name_databases_that_were_set_aside(folder: Path) -> None:
    (folder / "cache.db.corrupt-1").touch()
    assert upkeep.stats(folder).damaged == ("cache.db.corrupt-1",)


def test_prune_by_age(folder: Path) -> None:
    execute(folder, "UPDATE Cache SET store_time = store_time - 7200 WHERE key IN ('2', '4')")
    assert upkeep.prune(folder, older_than=3600) == 2
    assert stored_keys(folder) == ["1", "3"]


def test_prune_by_lm(folder: Path) -> None:
    assert upkeep.prune(folder, model="openai/other") == 1
    assert stored_keys(folder) == ["1", "2", "3"]


def test_prune_by_age_and_lm(folder: Path) -> None:
    execute(folder, "UPDATE Cache SET store_time = store_time - 7200 WHERE key IN ('2', '4')")
    assert upkeep.prune(folder, older_than=3600, model="vllm/m") == 1
    assert stored_keys(folder) == ["1", "3", "4"]


def test_prune_by_size_drops_the_oldest_and_frees_the_disk(folder: Path) -> None:
    fill(folder, *(f"long {number:02}" for number in range(20)), reply=LONG)
    assert upkeep.prune(folder, max_size=2**20) >= 14
    assert (folder / "cache.db").stat().st_size <= 2**20
    assert stored_keys(folder)[-1] == "long 19"
    assert "1" not in stored_keys(folder)


def test_clear_drops_everything_and_databases_that_were_set_aside(folder: Path) -> None:
    (folder / "cache.db.corrupt-1").touch()
    assert upkeep.clear(folder) == 4
    assert (stored_keys(folder), upkeep.stats(folder).damaged) == ([], ())


def test_clear_drops_replies_that_were_kept_beside_a_locked_database(folder: Path) -> None:
    cache = Cache(folder, busy_timeout=0.0)
    with locked(folder), one_warning("lmpipe cache import"):
        cache.put(KEY, REQUEST, REPLY)
        cache.close()
    assert list(folder.glob("unsaved-*"))
    upkeep.clear(folder)
    assert not list(folder.glob("unsaved-*"))


def test_a_cache_in_use_works_after_it_is_cleared(folder: Path) -> None:
    cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    cache.flush()
    assert upkeep.clear(folder) == 5
    assert cache.get("1") is None
    cache.put("2", REQUEST, REPLY)
    cache.close()
    assert stored_keys(folder) == ["2"]


@pytest.mark.parametrize("upkeep", [upkeep.clear, upkeep.prune])
def test_upkeep_of_a_missing_cache_is_refused(tmp_path: Path, upkeep: object) -> None:
    with pytest.raises(ConfigError, match="no such reply cache"):
        upkeep(tmp_path / "missing")  # type: ignore[operator]


@pytest.mark.parametrize("upkeep", [upkeep.clear, upkeep.prune, upkeep.stats])
def test_upkeep_of_a_damaged_cache_is_refused(folder: Path, upkeep: object) -> None:
    (folder / "cache.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigError, match=r"cannot be used .* or delete the folder"):
        upkeep(folder)  # type: ignore[operator]


def test_export_writes_one_line_per_reply_in_order(folder: Path) -> None:
    values = [orjson.loads(line) for line in lines(folder)]
    assert [value["key"] for value in values] == ["1", "2", "3", "4"]
    assert (values[3]["model"], values[3]["asked"]) == ("openai/other", "capital?")
    assert values[3]["reply"] == REPLY.to_json()


def test_export_of_one_lm(folder: Path) -> None:
    (line,) = lines(folder, model="openai/other")
    assert orjson.loads(line)["key"] == "4"


def test_export_leaves_out_damaged_entries(folder: Path) -> None:
    execute(folder, "UPDATE Cache SET value = ? WHERE key = '2'", b"damaged")
    left_out: list[str] = []
    exported = list(
        upkeep.export(folder, on_damage=lambda key, error: left_out.append(f"{key}: {error}"))
    )
    assert (len(exported), left_out) == (3, ["2: not a stored reply"])


def test_export_of_nothing(tmp_path: Path) -> None:
    assert lines(tmp_path / "missing") == []


def test_import_adds_new_replies(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    fill(other, "1", reply=LONG)
    exported = lines(folder)
    done = upkeep.import_(other, lambda: exported, name="replies.jsonl")
    assert done == (3, 1)
    assert read(other, "4") == REPLY.as_cached()
    assert read(other, "1") == LONG.as_cached()


def test_import_of_many(tmp_path: Path) -> None:
    fill(tmp_path / "a", *(str(number) for number in range(2500)))
    exported = lines(tmp_path / "a")
    done = upkeep.import_(tmp_path / "b", lambda: exported, name="replies.jsonl")
    assert done == (2500, 0)
    assert [line[:100] for line in lines(tmp_path / "b")] == [line[:100] for line in exported]


def test_import_refuses_everything_if_a_line_is_damaged(folder: Path, tmp_path: Path) -> None:
    exported = lines(folder)
    exported[1] = exported[1].replace(b"hello", b"jello")
    exported.append(b"{}\n")
    with pytest.raises(DataError) as refused:
        upkeep.import_(tmp_path / "other", lambda: exported, name="replies.jsonl")
    assert "replies.jsonl:2: wrong checksum" in str(refused.value)
    assert "replies.jsonl:5: not an exported reply" in str(refused.value)
    assert not (tmp_path / "other").exists()


def test_pruning_during_writes_drops_only_what_was_chosen(
    folder: Path,
) -> None:
    cache = Cache(folder)
    for number in range(50):
        cache.put(f"new {number}", REQUEST, REPLY)
        if number % 10 == 0:
            upkeep.prune(folder, model="openai/other")
    cache.close()
    assert len(stored_keys(folder)) == 53
    assert os.listdir(folder) == ["cache.db"]
