"""The reply cache as one process sees it: storing, finding, limits, unusable folders."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from helpers.reply_cache import KEY, LONG, REPLY, REQUEST, execute, fill, one_warning, read, replies
from hypothesis import given, settings

from lmpipe.lm.cache.cache import Cache, default_cache_folder
from lmpipe.lm.request import Reply


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "replies"


@pytest.fixture
def cache(folder: Path) -> Iterator[Cache]:
    cache = Cache(folder)
    yield cache
    cache.close()


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
    assert (len(cache), cache.get(KEY), read(folder)) == (1, REPLY.as_cached(), REPLY.as_cached())


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


def test_what_another_process_stores_is_found(folder: Path, cache: Cache) -> None:
    assert cache.get(KEY) is None
    fill(folder)
    assert cache.get(KEY) == REPLY.as_cached()


def test_a_second_look_does_not_go_to_the_disk(folder: Path, cache: Cache) -> None:
    fill(folder)
    cache.get(KEY)
    execute(folder, "DELETE FROM Cache")
    assert cache.get(KEY) == REPLY.as_cached()


def test_nothing_is_made_before_something_is_stored(folder: Path, cache: Cache) -> None:
    assert cache.get(KEY) is None
    cache.close()
    assert not folder.exists()


def test_the_oldest_replies_go_when_the_cache_is_full(folder: Path) -> None:
    cache = Cache(folder, size_limit=2**20)
    for number in range(40):
        cache.put(f"{number:064}", REQUEST, LONG)
        if number % 7 == 0:
            cache.flush()
    cache.close()
    assert (folder / "cache.db").stat().st_size <= 2**20
    assert read(folder, f"{0:064}") is None
    assert read(folder, f"{39:064}") == LONG.as_cached()


def test_a_limit_below_one_reply_drops_all_and_goes_on(folder: Path) -> None:
    cache = Cache(folder, size_limit=1000)
    cache.put(KEY, REQUEST, LONG)
    assert len(cache) == 0
    cache.close()


def test_the_bytes_on_disk_are_text_with_the_question(folder: Path) -> None:
    fill(folder)
    ((value, model),) = execute(folder, "SELECT value, tag FROM Cache")
    assert b'"text":"hello"' in value
    assert b'"asked":"hi"' in value
    assert model == "vllm/m"


# What cannot be stored.


def test_an_unusable_folder_turns_the_cache_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with one_warning("every call asks the LM"):
        cache = Cache(tmp_path / "file" / "replies")
        cache.put(KEY, REQUEST, REPLY)
        cache.flush()
        cache.put(KEY, REQUEST, REPLY)
        assert cache.get(KEY) is None
        assert len(cache) == 0
        cache.close()


def test_a_locked_database_costs_one_warning(folder: Path) -> None:
    fill(folder, "first")
    cache = Cache(folder, busy_timeout=0.0)
    cache.put("second", REQUEST, REPLY)
    cache.flush()
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with one_warning("could not be written"):
            for key in ("third", "fourth"):
                cache.put(key, REQUEST, REPLY)
                cache.flush()
    cache.put("fifth", REQUEST, REPLY)
    # This process need not ask for them again.
    assert [cache.get(key) for key in ("third", "fifth")] == [REPLY.as_cached()] * 2
    cache.close()
    assert read(folder, "fifth") == REPLY.as_cached()
    assert read(folder, "third") is None


def test_a_text_that_is_no_unicode_costs_a_warning_and_no_other_reply(folder: Path) -> None:
    cache = Cache(folder)
    cache.put("bad", REQUEST, Reply("\ud800"))
    cache.put(KEY, REQUEST, REPLY)
    with one_warning("could not be written"):
        cache.close()
    assert (read(folder), read(folder, "bad")) == (REPLY.as_cached(), None)


def test_a_folder_that_goes_away_costs_one_warning(folder: Path, cache: Cache) -> None:
    cache.put("before", REQUEST, REPLY)
    cache.flush()
    shutil.rmtree(folder)
    with one_warning("was deleted or replaced while in use"):
        for key in ("after", "later"):
            cache.put(key, REQUEST, REPLY)
            cache.flush()
    assert read(folder, "after") == read(folder, "later") == REPLY.as_cached()


def test_a_folder_that_cannot_be_made_again_turns_the_cache_off(folder: Path, cache: Cache) -> None:
    cache.put("before", REQUEST, REPLY)
    cache.flush()
    shutil.rmtree(folder)
    folder.write_text("in the way")
    cache.put("after", REQUEST, REPLY)
    with one_warning("every call asks the LM"):
        cache.flush()
    assert cache.get("after") is None


FULL_DISK = """
import resource, sys, warnings
from pathlib import Path
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Message, Reply, Request

request = Request(LM("vllm/m"), (Message("user", "hi"),))
cache = Cache(Path(sys.argv[1]))
cache.put("first", request, Reply("hello"))
cache.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for number in range(300):
        cache.put(f"{number:064}", request, Reply("some text " * 100))
        cache.put(f"{number + 300:064}", request, Reply("more text " * 20_000))
        cache.flush()
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


# Threads, clearing, and the rest.


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


def test_a_cleared_cache_forgets_what_it_had_in_memory(cache: Cache) -> None:
    cache.put(KEY, REQUEST, REPLY)
    assert cache.clear() == 1
    assert cache.get(KEY) is None


def test_a_pruned_cache_forgets_what_it_had_in_memory(cache: Cache) -> None:
    cache.put(KEY, REQUEST, REPLY)
    assert cache.prune(older_than=60) == 0
    assert cache.get(KEY) == REPLY.as_cached()
    assert cache.prune(model="vllm/m") == 1
    assert cache.get(KEY) is None


def test_a_cache_that_is_dropped_without_closing_loses_nothing(folder: Path) -> None:
    cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    thread = next(t for t in threading.enumerate() if t.name == "lmpipe-cache")
    del cache
    gc.collect()
    while thread.is_alive():  # it ends when nobody can store any more
        gc.collect()
        thread.join(0.01)
    assert read(folder) == REPLY.as_cached()


def test_finding_does_not_import_diskcache(folder: Path) -> None:
    fill(folder)
    code = (
        "import sys, pathlib\n"
        "from lmpipe.lm.cache.cache import Cache\n"
        f"assert Cache(pathlib.Path(sys.argv[1])).get({KEY!r}).text == 'hello'\n"
        "assert 'diskcache' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


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
