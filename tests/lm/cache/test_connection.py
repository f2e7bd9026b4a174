"""Damaged and replaced databases, and processes that fork."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from helpers.reply_cache import (
    KEY,
    REPLY,
    REQUEST,
    execute,
    fill,
    locked,
    one_warning,
    read,
    stored_keys,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.lm.cache.cache import Cache, CacheWarning
from lmpipe.lm.cache.connection import Connection
from lmpipe.lm.request import Reply

TESTS = Path(__file__).parents[2]
GARBAGE = b"no database" * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "replies"


# A damaged file.


def test_a_damaged_database_is_set_aside(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(GARBAGE)
    with one_warning(r"cache\.db\.corrupt-1"):
        assert read(folder) is None
    assert (folder / "cache.db.corrupt-1").read_bytes() == GARBAGE
    fill(folder)
    assert read(folder) == REPLY.as_cached()


@pytest.mark.parametrize("dropped", ["INDEX Cache_key_raw", "TRIGGER Settings_size_delete"])
def test_a_database_whose_creation_was_cut_short_is_completed(folder: Path, dropped: str) -> None:
    fill(folder, "earlier")
    # The trigger is created last.
    for what in {dropped, "TRIGGER Settings_size_delete"}:
        execute(folder, f"DROP {what}")
    fill(folder, "later")
    assert stored_keys(folder) == ["earlier", "later"]


def test_a_damaged_database_that_is_first_written_is_set_aside(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(GARBAGE)
    with one_warning(r"cache\.db\.corrupt-1"):
        fill(folder)
    assert read(folder) == REPLY.as_cached()


def test_each_damaged_database_is_kept(folder: Path) -> None:
    for _ in range(2):
        folder.mkdir(exist_ok=True)
        (folder / "cache.db").write_bytes(GARBAGE)
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


def test_a_database_that_is_damaged_while_in_use_is_set_aside(folder: Path) -> None:
    keys = [f"{number:064}" for number in range(200)]
    fill(folder, *keys)
    cache = Cache(folder)
    cache.get(keys[0])
    cache.close()
    pages = bytearray((folder / "cache.db").read_bytes())
    pages[4096 * 3 :] = b"\xff" * (len(pages) - 4096 * 3)
    # In place: the cache opens the same file at its next use.
    (folder / "cache.db").write_bytes(pages)
    with one_warning("was damaged"):
        for key in keys:
            cache.get(key)
        cache.put(KEY, REQUEST, REPLY)
        cache.close()
    assert read(folder) == REPLY.as_cached()


def test_a_foreign_database_is_set_aside(folder: Path) -> None:
    folder.mkdir()
    execute(folder, "CREATE TABLE Cache (id INTEGER)")
    with one_warning("not a table of diskcache"):
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


WRITER = """
import sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from helpers.reply_cache import REQUEST
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Reply

warnings.simplefilter("ignore")
cache = Cache(Path(sys.argv[1]))
for number in range(100):
    key = f"{sys.argv[2]}-{number}"
    cache.put(key, REQUEST, Reply(key))
    assert cache.get(key).text == key
cache.close()
"""


def test_processes_that_find_a_damaged_database_set_it_aside_once(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(GARBAGE)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(number), str(TESTS)])
        for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(list(folder.glob("*.corrupt-*"))) == 1
    assert len(stored_keys(folder)) == 400


# A file that is deleted or replaced.


def test_a_folder_that_is_deleted_is_created_again_with_one_warning(folder: Path) -> None:
    cache = Cache(folder)
    cache.put("before", REQUEST, REPLY)
    cache.flush()
    shutil.rmtree(folder)
    with one_warning("was deleted or replaced while in use"):
        for key in ("after", "later"):
            cache.put(key, REQUEST, REPLY)
            cache.flush()
    assert read(folder, "after") == read(folder, "later") == REPLY.as_cached()
    cache.close()


def test_a_folder_that_cannot_be_created_again_leaves_the_memory(folder: Path) -> None:
    cache = Cache(folder)
    cache.put("before", REQUEST, REPLY)
    cache.flush()
    shutil.rmtree(folder)
    folder.write_text("in the way")
    cache.put("after", REQUEST, REPLY)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache.close()
    said = [str(warning.message) for warning in caught]
    assert len(said) == 2
    assert "was deleted or replaced while in use" in said[0]
    assert "could not be written" in said[1]
    assert cache.get("after") == REPLY.as_cached()


def test_a_database_that_another_process_replaced_is_read(folder: Path, tmp_path: Path) -> None:
    fill(folder, "old")
    fill(tmp_path / "new", "new")
    cache = Cache(folder)
    assert cache.get("old") == REPLY.as_cached()
    (tmp_path / "new" / "cache.db").replace(folder / "cache.db")
    with one_warning("was deleted or replaced while in use"):
        assert cache.get("new") == REPLY.as_cached()
    cache.close()


# Processes that fork.

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def forked(work: Callable[[], object]) -> int:
    """Run a function in a forked child that exits at once; return its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@needs_fork
def test_a_forked_child_finds_what_its_parent_has_and_adds_its_own(folder: Path) -> None:
    fill(folder, "on disk")
    cache = Cache(folder)
    cache.get("on disk")
    cache.put("waiting", REQUEST, REPLY)

    def work() -> bool:
        found = all(cache.get(key) == REPLY.as_cached() for key in ("on disk", "waiting"))
        cache.put("of the child", REQUEST, REPLY)
        cache.flush()
        return found

    assert forked(work) == 0
    assert cache.get("of the child") == REPLY.as_cached()
    cache.close()
    assert read(folder, "waiting") == REPLY.as_cached()


FORKS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from helpers.reply_cache import REPLY, REQUEST
from lmpipe.lm.cache.cache import Cache

cache = Cache(Path(sys.argv[1]), busy_timeout=600.0)
cache.put("of the parent", REQUEST, REPLY)
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
cache.put("of the child", REQUEST, REPLY)
cache.close()
"""


@needs_fork
def test_a_forked_child_does_not_write_what_its_parent_has_to_write(folder: Path) -> None:
    fill(folder, "on disk")
    command = [sys.executable, "-c", FORKS, str(folder), str(TESTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        with locked(folder):
            parent.wait()
        assert parent.stdout is not None
        parent.stdout.read()  # until the child, which has it too, has ended
    assert stored_keys(folder) == ["of the child", "on disk"]


@needs_fork
def test_forking_while_another_thread_stores_hangs_nobody(folder: Path) -> None:
    cache, done = Cache(folder), threading.Event()

    def store() -> None:
        number = 0
        while not done.is_set():
            number = (number + 1) % 1000
            cache.put(str(number), REQUEST, REPLY)
            cache.get(str(number // 2))

    thread = threading.Thread(target=store)
    thread.start()

    def work() -> bool:
        cache.put("of the child", REQUEST, REPLY)
        cache.flush()
        return cache.get("of the child") is not None

    try:
        assert [forked(work) for _ in range(10)] == [0] * 10
    finally:
        done.set()
        thread.join()
    cache.close()


@needs_fork
def test_no_connection_crosses_a_fork(folder: Path) -> None:
    fill(folder)
    connection = Connection(folder, timeout=1.0, create=False, report=lambda *_: None)
    connection.use(lambda db: db.execute("SELECT 1"))
    opened = len(list(Path("/proc/self/fd").iterdir()))

    def work() -> bool:
        return len(list(Path("/proc/self/fd").iterdir())) < opened

    assert forked(work) == 0
    assert connection.use(lambda db: db.execute("SELECT 1").fetchall()) == [(1,)]
    connection.close()
