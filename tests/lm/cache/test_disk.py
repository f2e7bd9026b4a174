"""No pickle is ever loaded, and no row reaches files elsewhere."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest
from helpers.reply_cache import KEY, REPLY, assert_damaged, execute, fill, read

from lmpipe.errors import ConfigError
from lmpipe.lm.cache import upkeep
from lmpipe.lm.cache.disk import BytesDisk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with one reply."""
    folder = tmp_path / "replies"
    fill(folder)
    return folder


class Bomb:
    """Unpickling it creates a folder."""

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


def open_with_diskcache(folder: Path) -> diskcache.Cache:
    return diskcache.Cache(str(folder), disk=BytesDisk)


def test_the_bomb_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "unpickled")))
    assert (tmp_path / "unpickled").exists()


def test_a_pickled_row_is_refused(folder: Path, bomb: bytes) -> None:
    execute(folder, "UPDATE Cache SET mode = 4, value = ?", bomb)
    with pytest.raises(ConfigError, match="holds a pickled entry"):
        read(folder)


def test_a_pickled_row_is_refused_by_an_export(folder: Path, bomb: bytes) -> None:
    execute(folder, "UPDATE Cache SET mode = 4, value = ?", bomb)
    with pytest.raises(ConfigError, match="holds a pickled entry"):
        list(upkeep.export(folder, on_damage=lambda key, error: None))


def test_a_pickled_row_is_refused_by_diskcache(folder: Path, bomb: bytes) -> None:
    execute(folder, "UPDATE Cache SET mode = 4, value = ?", bomb)
    with (
        closing(open_with_diskcache(folder)) as cache,
        pytest.raises(ConfigError, match="holds a pickled entry"),
    ):
        cache.get(KEY)


def test_a_pickled_value_file_is_refused(folder: Path, bomb: bytes) -> None:
    (folder / "0a").mkdir()
    (folder / "0a" / "planted.val").write_bytes(bomb)
    execute(folder, "UPDATE Cache SET mode = 4, value = NULL, filename = '0a/planted.val'")
    with pytest.raises(ConfigError, match="holds a pickled entry"):
        read(folder)


def test_a_pickle_that_is_marked_as_bytes_is_not_loaded(folder: Path, bomb: bytes) -> None:
    execute(folder, "UPDATE Cache SET value = ?", bomb)
    assert_damaged(folder, "not a stored reply")


def test_a_pickled_key_is_refused_by_diskcache(folder: Path, bomb: bytes) -> None:
    execute(folder, "UPDATE Cache SET key = ?, raw = 0", bomb)
    with closing(open_with_diskcache(folder)) as cache:
        with pytest.raises(ValueError, match="the key is pickled"):
            list(cache)
        with pytest.raises(ValueError, match="the key is pickled"):
            cache.peekitem()


def test_pickled_settings_and_tags_are_not_loaded(folder: Path, bomb: bytes) -> None:
    execute(folder, "UPDATE Settings SET value = ? WHERE key LIKE 'disk%'", bomb)
    fill(folder)
    execute(folder, "UPDATE Cache SET tag = ?", bomb)
    assert read(folder) == REPLY.as_cached()


def test_diskcache_stores_no_pickle(folder: Path) -> None:
    with closing(open_with_diskcache(folder)) as cache:
        with pytest.raises(ValueError, match="a value must be bytes"):
            cache.set(KEY, ["a list"])
        with pytest.raises(ValueError, match="a key must be str"):
            cache.set(("a", "tuple"), b"value")


def test_diskcache_stores_and_finds_bytes(folder: Path) -> None:
    with closing(open_with_diskcache(folder)) as cache:
        cache.set("key", b"value")
        assert cache.get("key") == b"value"
        assert set(cache) == {KEY, "key"}


def test_a_planted_setting_has_no_effect(folder: Path) -> None:
    execute(folder, "INSERT INTO Settings VALUES ('_directory', '/etc')")
    fill(folder, "another")
    assert read(folder) == read(folder, "another") == REPLY.as_cached()


@pytest.mark.parametrize("name", ["{outside}", "../precious.txt"])
def test_a_row_cannot_name_a_file_elsewhere(folder: Path, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    planted = "UPDATE Cache SET mode = 2, value = NULL, filename = ?"
    execute(folder, planted, name.format(outside=precious))
    assert_damaged(folder, "not bytes")
    with closing(open_with_diskcache(folder)) as cache:
        cache.clear()
    upkeep.clear(folder)
    assert precious.read_text() == "precious"
