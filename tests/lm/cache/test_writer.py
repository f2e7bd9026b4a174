"""Writing behind the calls: soon, together, without holding anybody up, and before the end."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
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
    put_in_new_thread,
    read,
    stored_keys,
)

from lmpipe.lm.cache import upkeep
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Reply

TESTS = Path(__file__).parents[2]


PUTS = """
import os, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from helpers.reply_cache import KEY, REPLY, REQUEST
from lmpipe.lm.cache.cache import Cache
cache = Cache(Path(sys.argv[1]))
cache.put(KEY, REQUEST, REPLY)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with one reply."""
    folder = tmp_path / "replies"
    fill(folder, "first")
    return folder


# The thread.


def test_a_reply_is_written_without_a_flush(folder: Path) -> None:
    cache = Cache(folder)
    cache.put(KEY, REQUEST, REPLY)
    while KEY not in stored_keys(folder):  # some hundredths of a second
        pass
    cache.close()


def test_a_closed_cache_has_no_thread(folder: Path) -> None:
    cache = Cache(folder)
    thread = put_in_new_thread(cache)
    cache.close()
    assert not thread.is_alive()


def test_replies_that_wait_together_are_written_together(folder: Path) -> None:
    cache = Cache(folder)
    with locked(folder):
        for key in "abc":
            cache.put(key, REQUEST, REPLY)
    cache.close()
    times = execute(folder, "SELECT DISTINCT store_time FROM Cache WHERE key IN ('a', 'b', 'c')")
    assert len(times) <= 2  # the first may be on its way alone


def test_a_reply_is_found_before_it_is_written(folder: Path) -> None:
    cache = Cache(folder, memory=0)
    with locked(folder):
        cache.put(KEY, REQUEST, REPLY)
        assert cache.get(KEY) == REPLY.as_cached()
    cache.close()
    assert cache.get(KEY) == REPLY.as_cached()


def test_text_that_is_not_unicode_costs_a_warning_and_no_other_reply(folder: Path) -> None:
    cache = Cache(folder)
    cache.put("bad", REQUEST, Reply("\ud800"))
    cache.put(KEY, REQUEST, REPLY)
    with one_warning("could not be written"):
        cache.close()
    assert (read(folder), read(folder, "bad")) == (REPLY.as_cached(), None)


def test_an_interrupted_flush_loses_nothing(folder: Path) -> None:
    code = PUTS + (
        "import signal, sqlite3\n"
        "other = sqlite3.connect(Path(sys.argv[1]) / 'cache.db', check_same_thread=False)\n"
        "other.execute('BEGIN EXCLUSIVE')\n"
        "cache.put('late', REQUEST, REPLY)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "try: cache.flush()\n"
        "except KeyboardInterrupt: other.rollback()\n"
        "else: raise AssertionError('not interrupted')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), str(TESTS)], check=True)
    assert read(folder, "late") == REPLY.as_cached()


# A database that another process holds locked.


def test_a_locked_database_costs_one_warning(folder: Path) -> None:
    cache = Cache(folder, busy_timeout=0.0)
    cache.put("second", REQUEST, REPLY)
    cache.flush()
    with locked(folder), one_warning("another process holds it locked.*lmpipe cache import"):
        for key in ("third", "fourth"):
            cache.put(key, REQUEST, REPLY)
            cache.flush()
    cache.put("fifth", REQUEST, REPLY)
    # This process need not call the LM for them again.
    assert [cache.get(key) for key in ("third", "fifth")] == [REPLY.as_cached()] * 2
    cache.close()
    assert stored_keys(folder) == ["fifth", "first", "second"]
    assert import_kept(folder) == (2, 0)
    assert stored_keys(folder) == ["fifth", "first", "fourth", "second", "third"]


def test_a_locked_database_holds_up_no_call(folder: Path) -> None:
    cache = Cache(folder, busy_timeout=600.0)
    with locked(folder):
        began = time.monotonic()
        for number in range(10_000):
            cache.put(str(number), REQUEST, REPLY)
            assert cache.get(str(number)) == REPLY.as_cached()
            assert cache.get(f"unknown {number}") is None
        assert time.monotonic() - began < 60
    cache.close()
    assert len(stored_keys(folder)) == 10_001


def test_closing_waits_for_a_locked_database_for_a_limited_time_and_loses_nothing(
    folder: Path,
) -> None:
    cache = Cache(folder, busy_timeout=0.1)
    with locked(folder), one_warning("could not be written"):
        for number in range(4096):
            cache.put(str(number), REQUEST, REPLY)
        began = time.monotonic()
        cache.close()
        assert time.monotonic() - began < 30
    assert import_kept(folder) == (4096, 0)
    assert read(folder, "4095") == REPLY.as_cached()


def test_a_file_beside_a_locked_database_that_cannot_be_written_costs_one_warning(
    folder: Path,
) -> None:
    cache = Cache(folder, busy_timeout=0.0)
    (folder / f"unsaved-{os.getpid()}.jsonl").mkdir()
    with locked(folder), one_warning("so later processes will call the LM again"):
        cache.put(KEY, REQUEST, REPLY)
        cache.close()


def test_threads_do_not_wait_for_a_locked_database_one_after_the_other(folder: Path) -> None:
    # Without a write-ahead log, a lock also keeps readers out.
    execute(folder, "PRAGMA journal_mode = DELETE")
    cache = Cache(folder)
    with locked(folder), one_warning("could not be read"):
        began = time.monotonic()
        with ThreadPoolExecutor(100) as threads:
            assert list(threads.map(cache.get, map(str, range(100)))) == [None] * 100
        assert time.monotonic() - began < 30
        cache.get("another")
    cache.close()


def import_kept(folder: Path) -> tuple[int, int]:
    """Import the replies that were kept beside a locked database."""
    (kept,) = folder.glob("unsaved-*.jsonl")
    return upkeep.import_(folder, lambda: kept.read_bytes().splitlines(), name=kept.name)


def test_what_waits_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmpipe.lm.cache.writer._MAX_REPLIES", 10)
    cache = Cache(folder)
    with locked(folder), one_warning("too many replies are waiting"):
        for number in range(100):
            cache.put(str(number), REQUEST, REPLY)
    cache.close()
    assert 10 < len(stored_keys(folder)) <= 30


# A full disk.

FULL_DISK = """
import resource, sys, warnings
from pathlib import Path
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.lm import LM
from lmpipe.lm.request import Message, Reply, Request

request = Request(LM("vllm/m"), (Message("user", "hi"),))
cache = Cache(Path(sys.argv[1]), memory=0)
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


# How processes end.


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise KeyboardInterrupt", -2),
        ("import atexit; atexit.register(cache.put, 'late', REQUEST, REPLY)", 0),
    ],
)
def test_a_process_writes_everything_before_it_ends(folder: Path, ending: str, status: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PUTS + ending, str(folder), str(TESTS)],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert ran.returncode in (status, 130)
    assert read(folder) == REPLY.as_cached()


@pytest.mark.parametrize("where", ["before", "after"])
def test_replies_put_while_python_exits_are_written(folder: Path, where: str) -> None:
    late = "\nimport atexit\natexit.register(lambda: cache.put('late', REQUEST, REPLY))\n"
    code = late + PUTS if where == "before" else PUTS + late
    subprocess.run([sys.executable, "-c", code, str(folder), str(TESTS)], check=True)
    assert read(folder, "late") == REPLY.as_cached()


def test_replies_put_by_a_daemon_thread_are_written(folder: Path) -> None:
    code = PUTS + (
        "def work(): cache.put('of the thread', REQUEST, REPLY)\n"
        "thread = threading.Thread(target=work, daemon=True)\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), str(TESTS)], check=True)
    assert read(folder, "of the thread") == REPLY.as_cached()


def _put(cache: Cache) -> None:
    cache.put(KEY, REQUEST, REPLY)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_worker_of_multiprocessing_writes_everything_before_it_ends(folder: Path) -> None:
    cache = Cache(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        worker = multiprocessing.get_context("fork").Process(target=_put, args=(cache,))
        worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()
