"""Nothing executes on load, and damage costs a warning and a fresh call."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from helpers.reply_cache import (
    KEY,
    REPLY,
    REQUEST,
    assert_damaged,
    execute,
    fill,
    one_warning,
    read,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm.cache.cache import Cache, CacheWarning
from lmpipe.lm.cache.disk import ReplyDisk
from lmpipe.lm.request import Reply


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "replies"


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[bytes]:
    """A pickle; the test fails if anything loads it."""
    goal = tmp_path / "unpickled"
    yield pickle.dumps(Bomb(goal))
    assert not goal.exists()


def open_disk(folder: Path) -> ReplyDisk:
    return ReplyDisk(folder, size_limit=2**30, busy_timeout=1.0)


def test_the_bomb_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "unpickled")))
    assert (tmp_path / "unpickled").exists()


def test_a_pickled_row_is_refused(folder: Path, bomb: bytes) -> None:
    fill(folder)
    execute(folder, "UPDATE Cache SET mode = 4, value = ?", bomb)
    with pytest.raises(ConfigError, match="holds a pickled entry"):
        read(folder)


def test_a_pickled_value_file_is_refused(folder: Path, bomb: bytes) -> None:
    fill(folder)
    (folder / "0a").mkdir()
    (folder / "0a" / "planted.val").write_bytes(bomb)
    execute(folder, "UPDATE Cache SET mode = 4, value = NULL, filename = '0a/planted.val'")
    with pytest.raises(ConfigError, match="holds a pickled entry"):
        read(folder)


def test_a_pickle_that_says_it_is_bytes_is_not_loaded(folder: Path, bomb: bytes) -> None:
    fill(folder)
    execute(folder, "UPDATE Cache SET value = ?", bomb)
    assert_damaged(folder, "is damaged")


def test_a_pickled_key_is_refused(folder: Path, bomb: bytes) -> None:
    disk = open_disk(folder)
    disk.store([(KEY, "vllm/m", b"value")])
    execute(folder, "UPDATE Cache SET key = ?, raw = 0", bomb)
    with pytest.raises(ValueError, match="its key is pickled"):
        list(disk)
    with pytest.raises(ValueError, match="its key is pickled"):
        disk.peekitem()
    disk.close()


def test_pickled_settings_and_tags_are_not_loaded(folder: Path, bomb: bytes) -> None:
    fill(folder)
    execute(folder, "UPDATE Settings SET value = ? WHERE key LIKE 'disk%'", bomb)
    fill(folder)
    execute(folder, "UPDATE Cache SET tag = ?", bomb)
    assert read(folder) == REPLY.as_cached()


def test_nothing_is_ever_stored_as_a_pickle(folder: Path) -> None:
    disk = open_disk(folder)
    with pytest.raises(ValueError, match="a value must be bytes"):
        disk.set(KEY, ["a list"])
    with pytest.raises(ValueError, match="a key must be str"):
        disk.set(("a", "tuple"), b"value")
    disk.close()


def test_a_planted_setting_sends_the_database_aside(folder: Path) -> None:
    fill(folder)
    execute(folder, "INSERT INTO Settings VALUES ('_directory', '/etc')")
    with pytest.warns(CacheWarning, match="'_directory' is not one of diskcache's"):
        fill(folder)
    assert read(folder) == REPLY.as_cached()


@pytest.mark.parametrize("name", ["{outside}", "../precious.txt"])
def test_a_row_cannot_point_at_a_file_elsewhere(folder: Path, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    fill(folder)
    planted = "UPDATE Cache SET mode = 2, value = NULL, filename = ?"
    execute(folder, planted, name.format(outside=precious))
    assert_damaged(folder, "no bytes of ours")
    cache = Cache(folder)
    cache.clear()
    cache.close()
    assert precious.read_text() == "precious"


# A damaged entry.


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (b"not JSON", "no stored reply"),
        (b"{}", "no stored reply"),
        (b"", "no stored reply"),
        (b"lmpipe-reply-3 0\n{}\n{}", "no stored reply"),
        (b"lmpipe-reply-2 0\n{}\n{}", "its checksum is wrong"),
        ("text", "no stored reply"),
        (None, "no bytes of ours"),
        (7, "no bytes of ours"),
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
    assert_damaged(folder, "its checksum is wrong", other)


def test_an_entry_of_the_first_version_is_a_silent_miss(folder: Path) -> None:
    fill(folder)
    execute(folder, "UPDATE Cache SET value = ?", b'{"checksum":"0","reply":{},"v":1}')
    assert read(folder) is None


def test_a_damaged_entry_can_be_stored_again(folder: Path) -> None:
    fill(folder)
    execute(folder, "UPDATE Cache SET value = ?", b"not JSON")
    assert_damaged(folder, "is damaged")
    fill(folder)
    assert read(folder) == REPLY.as_cached()


# A damaged file.


def test_a_damaged_database_is_moved_aside(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"no database" * 1000)
    with one_warning(r"cache\.db\.corrupt-1"):
        assert read(folder) is None
    assert (folder / "cache.db.corrupt-1").read_bytes() == b"no database" * 1000
    fill(folder)
    assert read(folder) == REPLY.as_cached()


def test_a_damaged_database_that_is_written_first_is_moved_aside(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"no database" * 1000)
    with one_warning(r"cache\.db\.corrupt-1"):
        fill(folder)
    assert read(folder) == REPLY.as_cached()


def test_each_damaged_database_is_kept(folder: Path) -> None:
    for _ in range(2):
        folder.mkdir(exist_ok=True)
        (folder / "cache.db").write_bytes(b"no database" * 1000)
        with pytest.warns(CacheWarning):
            read(folder)
    assert (folder / "cache.db.corrupt-2").exists()


@pytest.mark.parametrize("keep", [0, 100, 4096, 4096 * 5, 4096 * 20 + 17])
def test_a_database_that_is_cut_short_never_crashes_or_lies(folder: Path, keep: int) -> None:
    keys = [f"{number:064}" for number in range(200)]
    cache = Cache(folder)
    for key in keys:
        cache.put(key, REQUEST, Reply(key))
    cache.close()
    os.truncate(folder / "cache.db", keep)
    cache = Cache(folder)
    # An empty file is an empty database.
    with pytest.warns(CacheWarning) if keep else nullcontext():
        for key in keys:
            reply = cache.get(key)
            assert reply is None or reply.text == key
        cache.put(KEY, REQUEST, REPLY)
        cache.close()
    assert read(folder) == REPLY.as_cached()


def test_a_database_damaged_while_in_use_is_moved_aside(folder: Path) -> None:
    keys = [f"{number:064}" for number in range(200)]
    fill(folder, *keys)
    cache = Cache(folder)
    cache.get(keys[0])
    cache.close()
    pages = bytearray((folder / "cache.db").read_bytes())
    pages[4096 * 3 :] = b"\xff" * (len(pages) - 4096 * 3)
    # In place: the cache opens the file again at its next use.
    (folder / "cache.db").write_bytes(pages)
    with one_warning("was damaged"):
        for key in keys:
            cache.get(key)
        cache.put(KEY, REQUEST, REPLY)
        cache.close()
    assert read(folder) == REPLY.as_cached()


def test_a_foreign_database_is_moved_aside(folder: Path) -> None:
    folder.mkdir()
    execute(folder, "CREATE TABLE Cache (id INTEGER)")
    with pytest.warns(CacheWarning, match="the table Cache is not diskcache's"):
        fill(folder)
    assert read(folder) == REPLY.as_cached()


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_changed_byte_in_the_file_never_crashes_or_lies(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("replies")
    keys = [f"{number:064}" for number in range(20)]
    cache = Cache(folder)
    for key in keys:
        cache.put(key, REQUEST, Reply(key))
    cache.close()
    pages = bytearray((folder / "cache.db").read_bytes())
    pages[data.draw(st.integers(0, len(pages) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / "cache.db").write_bytes(pages)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        cache = Cache(folder)
        for key in keys:
            found = cache.get(key)
            assert found is None or found.text == key
        cache.put(KEY, REQUEST, REPLY)
        cache.close()
