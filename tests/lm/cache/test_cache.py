"""The reply cache as one process sees it: storing, finding, limits, damaged entries."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.reply_cache import (
    KEY,
    LONG,
    REPLY,
    REQUEST,
    assert_damaged,
    execute,
    fill,
    one_warning,
    put_in_new_thread,
    read,
    replies,
    stored_keys,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.lm.cache import upkeep
from lmpipe.lm.cache.cache import Cache, CacheWarning, default_cache_folder
from lmpipe.lm.request import Reply


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "replies"


@pytest.fixture
def cache(folder: Path) -> Iterator[Cache]:
    cache = Cache(folder)
    yield cache
    cache.close()


# Storing and finding.


def test_a_stored_reply_comes_back_marked_as_cached(cache: Cache) -> None:
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()


def test_a_reply_on_disk_comes_back_marked_as_cached(folder: Path) -> None:
    fill(folder)
    assert read(folder) == REPLY.as_cached()


def test_an_unknown_key_is_a_miss(cache: Cache) -> None:
    assert cache.get("0" * 64) is None
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get("0" * 64) is None


def test_a_later_reply_replaces_an_earlier_one(folder: Path, cache: Cache) -> None:
    cache.put(KEY, REQUEST, LONG)
    cache.flush()
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()
    cache.flush()
    assert stored_keys(folder) == [KEY]
    assert cache.get(KEY) == read(folder) == REPLY.as_cached()


def test_a_long_reply_comes_back(folder: Path) -> None:
    fill(folder, reply=LONG)
    assert read(folder) == LONG.as_cached()


def test_a_closed_cache_opens_again(cache: Cache, folder: Path) -> None:
    for number in range(3):
        cache.put(str(number), REQUEST, REPLY)
        cache.close()
    assert [cache.get(str(number)) for number in range(3)] == [REPLY.as_cached()] * 3
    assert read(folder, "2") == REPLY.as_cached()


@settings(max_examples=50, deadline=None)
@given(reply=replies)
def test_any_reply_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, reply: Reply
) -> None:
    folder = tmp_path_factory.getbasetemp() / "shared-by-all-examples"
    fill(folder, reply=reply)
    assert read(folder) == reply.as_cached()


def test_replies_of_other_processes_are_found(folder: Path, cache: Cache) -> None:
    assert cache.get(KEY) is None
    fill(folder)
    assert cache.get(KEY) == REPLY.as_cached()


def test_a_second_look_does_not_read_the_disk(folder: Path, cache: Cache) -> None:
    fill(folder)
    cache.get(KEY)
    execute(folder, "DELETE FROM Cache")
    assert cache.get(KEY) == REPLY.as_cached()


def test_a_reply_that_does_not_fit_into_memory_is_read_from_disk(folder: Path) -> None:
    cache = Cache(folder, memory=0)
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()
    cache.flush()
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()


def test_nothing_is_created_before_something_is_stored(folder: Path, cache: Cache) -> None:
    assert cache.get(KEY) is None
    cache.close()
    assert not folder.exists()


def test_the_oldest_replies_are_dropped_when_the_cache_is_full(folder: Path) -> None:
    cache = Cache(folder, size_limit=2**20)
    for number in range(40):
        cache.put(f"{number:064}", REQUEST, LONG)
        if number % 7 == 0:
            cache.flush()
    cache.close()
    assert (folder / "cache.db").stat().st_size <= 2**20
    assert read(folder, f"{0:064}") is None
    assert read(folder, f"{39:064}") == LONG.as_cached()


def test_a_limit_below_one_reply_drops_all_and_continues(folder: Path) -> None:
    cache = Cache(folder, size_limit=1000)
    cache.put(KEY, REQUEST, LONG)
    cache.close()
    assert stored_keys(folder) == []


def test_an_entry_is_text_with_the_question(folder: Path) -> None:
    fill(folder)
    ((value, model),) = execute(folder, "SELECT value, tag FROM Cache")
    assert b'"text":"hello"' in value
    assert b'"asked":"hi"' in value
    assert model == "vllm/m"


# Threads, garbage collection, imports.


def test_threads_share_a_cache(cache: Cache, folder: Path) -> None:
    missed: list[str] = []

    def work(thread: int) -> None:
        for number in range(30):
            key = f"{thread}-{number}"
            cache.put(key, REQUEST, Reply(key))
            reply = cache.get(key)
            if reply is None or reply.text != key:
                missed.append(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.flush()
    assert (missed, len(stored_keys(folder))) == ([], 240)


def test_a_cache_that_is_dropped_without_closing_loses_nothing(folder: Path) -> None:
    cache = Cache(folder)
    thread = put_in_new_thread(cache)
    del cache
    gc.collect()
    thread.join()  # it ends when nobody can store any more
    assert read(folder) == REPLY.as_cached()


def test_a_cache_that_is_dropped_closes_its_database(folder: Path) -> None:
    cache = Cache(folder)
    thread = put_in_new_thread(cache)
    cache.flush()
    assert (folder / "cache.db-wal").exists()
    del cache
    gc.collect()
    thread.join()
    assert not (folder / "cache.db-wal").exists()


def test_finding_does_not_import_diskcache(folder: Path) -> None:
    fill(folder)
    code = (
        "import sys, pathlib\n"
        "from lmpipe.lm.cache.cache import Cache\n"
        f"assert Cache(pathlib.Path(sys.argv[1])).get({KEY!r}).text == 'hello'\n"
        "assert 'diskcache' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_a_reply_that_is_cleared_by_another_process_stays_in_memory(
    folder: Path, cache: Cache
) -> None:
    cache.put(KEY, REQUEST, REPLY)
    cache.flush()
    upkeep.clear(folder)
    assert cache.get(KEY) == REPLY.as_cached()
    assert read(folder) is None


# Damaged entries.


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (b"not JSON", "not a stored reply"),
        (b"{}", "not a stored reply"),
        (b"", "not a stored reply"),
        (b"lmpipe-reply-3 0\n{}\n{}", "not a stored reply"),
        (b"lmpipe-reply-2 0\n{}\n{}", "wrong checksum"),
        ("text", "not a stored reply"),
        (None, "not bytes"),
        (7, "not bytes"),
    ],
)
def test_a_damaged_entry_is_a_miss(folder: Path, value: Any, match: str) -> None:
    fill(folder)
    execute(folder, "UPDATE Cache SET value = ?", value)
    assert_damaged(folder, match)


@given(data=st.binary(max_size=200).filter(lambda data: not data.startswith(b'{"checksum":"')))
@settings(max_examples=30, deadline=None)
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "shared-by-all-bytes"
    fill(folder)
    execute(folder, "UPDATE Cache SET value = ?", data)
    with pytest.warns(CacheWarning):
        assert read(folder) is None


def test_an_entry_cannot_answer_for_another_key(folder: Path) -> None:
    fill(folder)
    other = "f" * 64
    execute(folder, "UPDATE Cache SET key = ?", other)
    assert_damaged(folder, "wrong checksum", other)


def test_an_entry_of_the_first_format_is_a_silent_miss(folder: Path) -> None:
    fill(folder)
    execute(folder, "UPDATE Cache SET value = ?", b'{"checksum":"0","reply":{},"v":1}')
    assert read(folder) is None


def test_a_damaged_entry_can_be_stored_again(folder: Path) -> None:
    fill(folder)
    execute(folder, "UPDATE Cache SET value = ?", b"not JSON")
    assert_damaged(folder, "holds a damaged reply")
    fill(folder)
    assert read(folder) == REPLY.as_cached()


# The folder.


def test_an_unusable_folder_leaves_the_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "replies")
    with one_warning("could not be written"):
        for key in ("first", "second"):
            cache.put(key, REQUEST, REPLY)
            cache.flush()
        assert cache.get("first") == REPLY.as_cached()
        assert cache.get("unknown") is None
        cache.close()


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"LMPIPE_CACHE": "/c", "LMPIPE_HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/c"),
        ({"LMPIPE_HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/h/replies"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/lmpipe/replies"),
        ({"LMPIPE_CACHE": "", "XDG_CACHE_HOME": ""}, "~/.cache/lmpipe/replies"),
    ],
)
def test_default_folder(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: str
) -> None:
    for name in ("LMPIPE_CACHE", "LMPIPE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_cache_folder() == Path(folder).expanduser()
