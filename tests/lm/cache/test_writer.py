"""Writing behind the calls: together, soon, once, and before the process ends."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from helpers.reply_cache import KEY, REPLY, REQUEST, execute, fill, read

from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.cache.writer import Pending, WriteBehind

TESTS = Path(__file__).parents[2]
NEVER = 3600.0  # the thread lingers for ever; only others write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "replies"


class Book:
    """Remembers what was written, one entry a batch; waits where told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.reached, self.opened = threading.Event(), threading.Event()
        self.opened.set()

    def __call__(self, pending: Pending) -> None:
        self.reached.set()
        self.opened.wait()
        self.batches.append(list(pending))


def test_what_waits_is_written_together() -> None:
    book = Book()
    writer = WriteBehind(book, linger=NEVER)
    for key in "abc":
        writer.add(key, REQUEST, REPLY)
    writer.flush()
    assert book.batches == [["a", "b", "c"]]


def test_the_thread_writes_unasked() -> None:
    book = Book()
    writer = WriteBehind(book, linger=0)
    writer.add("a", REQUEST, REPLY)
    assert book.reached.wait(60)
    writer.close()
    assert book.batches == [["a"]]


def test_a_reply_is_found_while_it_waits_and_while_it_is_written() -> None:
    book = Book()
    book.opened.clear()
    writer = WriteBehind(book, linger=0)
    writer.add("a", REQUEST, REPLY)
    assert book.reached.wait(60)
    writer.add("b", REQUEST, REPLY)
    assert (writer.get("a"), writer.get("b"), writer.get("c")) == (REPLY, REPLY, None)
    book.opened.set()
    writer.close()
    assert (writer.get("a"), writer.get("b")) == (None, None)
    assert book.batches == [["a"], ["b"]]


def test_more_than_can_wait_is_written_by_the_caller() -> None:
    book = Book()
    writer = WriteBehind(book, linger=NEVER)
    for number in range(10_000):
        writer.add(str(number), REQUEST, REPLY)
    assert 0 < len(book.batches) <= 3
    assert len(book.batches[0]) <= 5000


def test_what_an_interrupt_kept_from_being_written_waits_on() -> None:
    batches: list[list[str]] = []

    def write(pending: Pending) -> None:
        batches.append(list(pending))
        if len(batches) == 1:
            raise KeyboardInterrupt

    writer = WriteBehind(write, linger=NEVER)
    writer.add("a", REQUEST, REPLY)
    with pytest.raises(KeyboardInterrupt):
        writer.flush()
    assert writer.get("a") == REPLY
    writer.flush()
    assert batches == [["a"], ["a"]]


def test_a_closed_writer_writes_again() -> None:
    book = Book()
    writer = WriteBehind(book, linger=0)
    for key in "abc":
        writer.add(key, REQUEST, REPLY)
        writer.close()
    assert book.batches == [["a"], ["b"], ["c"]]


def test_at_the_end_each_reply_is_written_at_once() -> None:
    book = Book()
    writer = WriteBehind(book, linger=NEVER)
    writer.close_for_good()
    writer.add("a", REQUEST, REPLY)
    assert book.batches == [["a"]]


# How processes end.

PUTS = """
import os, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from helpers.reply_cache import KEY, REPLY, REQUEST
from lmpipe.lm.cache.cache import Cache
cache = Cache(Path(sys.argv[1]))
cache.put(KEY, REQUEST, REPLY)
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise KeyboardInterrupt", -2),
        ("import atexit; atexit.register(cache.put, 'late', REQUEST, REPLY)", 0),
    ],
)
def test_a_process_that_ends_has_written_all(folder: Path, ending: str, status: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PUTS + ending, str(folder), str(TESTS)],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert ran.returncode in (status, 130)
    assert read(folder) == REPLY.as_cached()


def test_what_is_put_while_python_exits_is_written(folder: Path) -> None:
    # Registered before the cache's own: it runs after it.
    code = f"import atexit\natexit.register(lambda: cache.put('late', REQUEST, REPLY))\n{PUTS}"
    subprocess.run([sys.executable, "-c", code, str(folder), str(TESTS)], check=True)
    assert read(folder, "late") == REPLY.as_cached()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def forked(work: object) -> int:
    """Run a function in a forked child that then leaves without ceremony."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2  # type: ignore[operator]
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


@needs_fork
def test_a_forked_child_does_not_write_what_is_its_parents(tmp_path: Path) -> None:
    book, log = Book(), tmp_path / "log"
    writer = WriteBehind(book, linger=NEVER)
    writer.add("of the parent", REQUEST, REPLY)

    def work() -> bool:
        theirs = writer.after_fork()
        writer.add("of the child", REQUEST, REPLY)
        writer.flush()
        log.write_text(repr(book.batches))
        return list(theirs) == ["of the parent"]

    assert forked(work) == 0
    assert log.read_text() == "[['of the child']]"
    writer.flush()
    assert book.batches == [["of the parent"]]


@needs_fork
def test_forking_while_another_thread_stores_hangs_nobody(folder: Path) -> None:
    cache, done = Cache(folder), threading.Event()

    def store() -> None:
        number = 0
        while not done.is_set():
            number += 1
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


def _put(cache: Cache) -> None:
    cache.put(KEY, REQUEST, REPLY)


@needs_fork
def test_a_worker_of_multiprocessing_has_written_all_when_it_ends(folder: Path) -> None:
    cache = Cache(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        worker = multiprocessing.get_context("fork").Process(target=_put, args=(cache,))
        worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert cache.get(KEY) == REPLY.as_cached()
    cache.close()


# Several processes.

WRITER = """
import sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from helpers.reply_cache import REQUEST
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Reply

warnings.simplefilter(sys.argv[4])
cache = Cache(Path(sys.argv[1]))
for number in range(100):
    key = f"{sys.argv[2]}-{number}"
    cache.put(key, REQUEST, Reply(key))
    assert cache.get(key).text == key
cache.close()
"""


def test_processes_that_find_a_damaged_database_move_it_once(folder: Path) -> None:
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"no database" * 1000)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(number), str(TESTS), "ignore"]
        )
        for number in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(list(folder.glob("*.corrupt-*"))) == 1
    assert execute(folder, "SELECT COUNT(*) FROM Cache") == [(400,)]
