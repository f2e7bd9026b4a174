from __future__ import annotations

import os
import pickle
import re
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.errors import ConfigError
from lmpipe.lm.cache import Cache, CacheWarning, default_cache_folder
from lmpipe.lm.lm import LM
from lmpipe.lm.reply_disk import ReplyDisk
from lmpipe.lm.request import Finish, Message, Reply, Request, Usage

REQUEST = Request(LM("vllm/m", base_url="http://127.0.0.1:1/v1"), (Message("user", "hi"),))
KEY = REQUEST.key()
REPLY = Reply("hello", "length", Usage(3, 2, 1), 0.25, "vllm-1")
LONG = Reply("long " * 20_000)  # beyond 32 KiB, so kept in a file of its own

texts = st.text(st.characters(exclude_categories=["Cs"]))
counts = st.integers(0, 2**40)
replies = st.builds(
    Reply,
    text=texts,
    finish=st.sampled_from(get_args(Finish)),
    usage=st.builds(Usage, counts, counts, counts),
    seconds=st.floats(0, 1e6),
    fingerprint=texts,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "replies"


@pytest.fixture
def cache(folder: Path) -> Iterator[Cache]:
    cache = Cache(folder)
    yield cache
    cache.close()


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def execute(folder: Path, statement: str, *values: Any) -> None:
    """Change the database behind the cache's back."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        connection.execute(statement, values)


@contextmanager
def one_warning(match: str) -> Iterator[None]:
    """Exactly one warning, a `CacheWarning` that says this."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [warning.category for warning in caught] == [CacheWarning]
    assert re.search(match, str(caught[0].message)), caught[0].message


def assert_one_warning(cache: Cache, match: str, key: str = KEY) -> None:
    with one_warning(match):
        assert cache.get(key) is None
        assert cache.get(key) is None


def test_a_stored_reply_comes_back_marked_as_cached(cache: Cache) -> None:
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()


def test_an_unknown_key_is_a_miss(cache: Cache) -> None:
    assert cache.get("0" * 64) is None


def test_a_later_reply_replaces_an_earlier_one(cache: Cache) -> None:
    cache.put(KEY, REQUEST, LONG)
    cache.put(KEY, REQUEST, REPLY)
    assert (cache.get(KEY), len(cache)) == (REPLY.as_cached(), 1)


def test_a_long_reply_comes_back(cache: Cache) -> None:
    cache.put(KEY, REQUEST, LONG)
    assert cache.get(KEY) == LONG.as_cached()


def test_replies_survive_closing(folder: Path) -> None:
    for _ in range(2):
        cache = Cache(folder)
        cache.put(KEY, REQUEST, REPLY)
        cache.close()
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()


@settings(max_examples=50, deadline=None)
@given(reply=replies)
def test_any_reply_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, reply: Reply
) -> None:
    cache = Cache(tmp_path_factory.getbasetemp() / "shared-by-all-examples")
    cache.put(KEY, REQUEST, reply)
    assert cache.get(KEY) == reply.as_cached()
    cache.close()


def test_the_oldest_replies_go_when_the_cache_is_full(folder: Path) -> None:
    cache = Cache(folder, size_limit=2**20)
    keys = [f"{number:064}" for number in range(40)]
    for key in keys:
        cache.put(key, REQUEST, LONG)
    assert cache.get(keys[0]) is None
    assert cache.get(keys[-1]) is not None
    cache.close()


# Nothing executes on load.


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[bytes]:
    """A pickle; the test fails if anything loads it."""
    goal = tmp_path / "unpickled"
    yield pickle.dumps(Bomb(goal))
    assert not goal.exists()


def test_the_bomb_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "unpickled")))
    assert (tmp_path / "unpickled").exists()


def test_a_pickled_row_is_refused(cache: Cache, folder: Path, bomb: bytes) -> None:
    cache.put(KEY, REQUEST, REPLY)
    execute(folder, "UPDATE Cache SET mode = 4, value = ?", bomb)
    with pytest.raises(ConfigError, match="holds a pickled entry"):
        cache.get(KEY)


def test_a_pickled_value_file_is_refused(cache: Cache, folder: Path, bomb: bytes) -> None:
    cache.put(KEY, REQUEST, LONG)
    (file,) = folder.rglob("*.val")
    file.write_bytes(bomb)
    execute(folder, "UPDATE Cache SET mode = 4")
    with pytest.raises(ConfigError, match="holds a pickled entry"):
        cache.get(KEY)


def test_a_pickle_that_says_it_is_bytes_is_not_loaded(
    cache: Cache, folder: Path, bomb: bytes
) -> None:
    cache.put(KEY, REQUEST, REPLY)
    execute(folder, "UPDATE Cache SET value = ?", bomb)
    assert_one_warning(cache, "is damaged")


def test_a_pickled_key_is_refused(folder: Path, bomb: bytes) -> None:
    disk = ReplyDisk(folder, size_limit=2**30, busy_timeout=1.0)
    disk.set_bytes(KEY, b"value")
    execute(folder, "UPDATE Cache SET key = ?, raw = 0", bomb)
    with pytest.raises(ValueError, match="its key is pickled"):
        list(disk)
    with pytest.raises(ValueError, match="its key is pickled"):
        disk.peekitem()
    disk.close()


def test_pickled_settings_and_tags_are_not_loaded(folder: Path, bomb: bytes) -> None:
    Cache(folder).close()
    execute(folder, "UPDATE Settings SET value = ? WHERE key LIKE 'disk%'", bomb)
    cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    execute(folder, "UPDATE Cache SET tag = ?", bomb)
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()


def test_nothing_is_ever_stored_as_a_pickle(folder: Path) -> None:
    disk = ReplyDisk(folder, size_limit=2**30, busy_timeout=1.0)
    with pytest.raises(ValueError, match="a value must be bytes"):
        disk.set(KEY, ["a list"])
    with pytest.raises(ValueError, match="a key must be str"):
        disk.set(("a", "tuple"), b"value")
    disk.close()


def test_a_planted_setting_sends_the_database_aside(folder: Path) -> None:
    Cache(folder).close()
    execute(folder, "INSERT INTO Settings VALUES ('_directory', '/etc')")
    with pytest.warns(CacheWarning, match="'_directory' is not one of diskcache's"):
        cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()


@pytest.mark.parametrize("name", ["{outside}", "../precious.txt"])
def test_a_row_cannot_point_at_a_file_elsewhere(
    cache: Cache, folder: Path, tmp_path: Path, name: str
) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("precious")
    cache.put(KEY, REQUEST, LONG)
    execute(folder, "UPDATE Cache SET filename = ?", name.format(outside=precious))
    assert_one_warning(cache, "no bytes of ours")
    cache.put(KEY, REQUEST, REPLY)
    assert precious.read_text() == "precious"


# Damage costs a warning and a fresh call.


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (b"not JSON", "is damaged"),
        (b"[]", "no stored reply"),
        (b"{}", "no stored reply"),
        (b'{"v":2,"reply":{},"checksum":""}', "its format is 2, expected 1"),
        (b'{"v":1,"reply":{},"checksum":"0"}', "its checksum is wrong"),
        (b'{"v":1,"reply":' + b"[" * 500 + b"]" * 500 + b',"checksum":"0"}', "is damaged"),
        ("text", "no bytes of ours"),
        (None, "no bytes of ours"),
        (7, "no bytes of ours"),
    ],
)
def test_a_damaged_entry_is_a_miss(cache: Cache, folder: Path, value: Any, match: str) -> None:
    cache.put(KEY, REQUEST, REPLY)
    execute(folder, "UPDATE Cache SET value = ?", value)
    assert_one_warning(cache, match)


@given(data=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_no_bytes_crash_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "shared-by-all-bytes"
    cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    execute(folder, "UPDATE Cache SET value = ?", data)
    with pytest.warns(CacheWarning):
        assert cache.get(KEY) is None
    cache.close()


def test_an_entry_cannot_answer_for_another_key(cache: Cache, folder: Path) -> None:
    cache.put(KEY, REQUEST, REPLY)
    other = "f" * 64
    execute(folder, "UPDATE Cache SET key = ?", other)
    assert_one_warning(cache, "its checksum is wrong", other)


def test_a_missing_value_file_is_a_miss(cache: Cache, folder: Path) -> None:
    cache.put(KEY, REQUEST, LONG)
    for file in folder.rglob("*.val"):
        file.unlink()
    assert_one_warning(cache, "its value file is missing")


def test_a_damaged_entry_can_be_stored_again(cache: Cache, folder: Path) -> None:
    cache.put(KEY, REQUEST, REPLY)
    execute(folder, "UPDATE Cache SET value = ?", b"not JSON")
    assert_one_warning(cache, "is damaged")
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()


def test_a_damaged_database_is_moved_aside(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"no database" * 1000)
    with pytest.warns(CacheWarning, match=r"cache\.db\.corrupt-1"):
        cache = Cache(folder)
    assert (folder / "cache.db.corrupt-1").read_bytes() == b"no database" * 1000
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()


def test_each_damaged_database_is_kept(folder: Path) -> None:
    for _ in range(2):
        folder.mkdir(exist_ok=True)
        (folder / "cache.db").write_bytes(b"no database" * 1000)
        with pytest.warns(CacheWarning):
            Cache(folder).close()
    assert (folder / "cache.db.corrupt-2").exists()


def test_a_database_damaged_while_in_use_is_moved_aside(folder: Path) -> None:
    cache = Cache(folder)
    for number in range(200):
        cache.put(f"{number:064}", REQUEST, REPLY)
    cache.close()
    pages = bytearray((folder / "cache.db").read_bytes())
    pages[4096 * 3 :] = b"\xff" * (len(pages) - 4096 * 3)
    # In place: the cache opens the file again at its next use.
    (folder / "cache.db").write_bytes(pages)
    with one_warning("was damaged"):
        for number in range(200):
            cache.get(f"{number:064}")
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()


def test_a_foreign_database_is_moved_aside(folder: Path) -> None:
    folder.mkdir()
    execute(folder, "CREATE TABLE Cache (id INTEGER)")
    with pytest.warns(CacheWarning, match="the table Cache is not diskcache's"):
        cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    assert len(cache) == 1
    cache.close()


def test_an_unusable_folder_turns_the_cache_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with one_warning("every call asks the LM"):
        cache = Cache(tmp_path / "file" / "replies")
        cache.put(KEY, REQUEST, REPLY)
        assert cache.get(KEY) is None
        assert len(cache) == 0
        cache.close()


def test_a_locked_database_costs_one_warning(folder: Path) -> None:
    cache = Cache(folder, busy_timeout=0.0)
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with one_warning("could not be written"):
            cache.put(KEY, REQUEST, REPLY)
            cache.put(KEY, REQUEST, LONG)
    cache.put(KEY, REQUEST, REPLY)
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()


def test_a_text_that_is_no_unicode_costs_a_warning(cache: Cache) -> None:
    with pytest.warns(CacheWarning, match="could not be written"):
        cache.put(KEY, REQUEST, Reply("\ud800"))


FULL_DISK = """
import resource, sys, warnings
from pathlib import Path
from lmpipe.lm.cache import Cache
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Message, Reply, Request

request = Request(LM("vllm/m"), (Message("user", "hi"),))
cache = Cache(Path(sys.argv[1]))
cache.put("first", request, Reply("hello"))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for number in range(300):
        cache.put(f"{number:064}", request, Reply("some text " * 100))
        cache.put(f"{number:064}", request, Reply("more text " * 20_000))
assert cache.get("first").text == "hello"
cache.close()
print([warning.category.__name__ for warning in caught])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_costs_one_warning(folder: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder)], capture_output=True, text=True, check=False
    )
    assert (ran.stdout.strip(), ran.stderr) == ("['CacheWarning']", "")


# Threads and processes.


def test_threads_share_a_cache(cache: Cache) -> None:
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
    assert (missed, len(cache)) == ([], 240)


WRITER = """
import sys, warnings
from pathlib import Path
from lmpipe.lm.cache import Cache
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Message, Reply, Request

warnings.simplefilter("error")
request = Request(LM("vllm/m"), (Message("user", "hi"),))
cache = Cache(Path(sys.argv[1]))
for number in range(100):
    key = f"{sys.argv[2]}-{number}"
    cache.put(key, request, Reply(key))
    assert cache.get(key).text == key
cache.close()
"""


def test_processes_share_a_cache(folder: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(number)])
        for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    cache = Cache(folder)
    assert len(cache) == 400
    cache.close()


def test_processes_that_find_a_damaged_database_move_it_once(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"no database" * 1000)
    writers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER.replace('simplefilter("error")', 'simplefilter("ignore")'),
                str(folder),
                str(number),
            ]
        )
        for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(list(folder.glob("*.corrupt-*"))) == 1
    cache = Cache(folder)
    assert len(cache) == 400
    cache.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_a_connection_of_its_own(folder: Path) -> None:
    cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            cache.put("from the child", REQUEST, REPLY)
            status = int(cache.get(KEY) is None)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.get("from the child") == REPLY.as_cached()
    cache.close()


def test_importing_the_cache_does_not_import_diskcache() -> None:
    code = "import sys, lmpipe.lm.cache; assert 'diskcache' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


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
