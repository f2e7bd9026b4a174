"""The library's event loop, called from plain Python and from other loops."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading

import pytest

from lmpipe.errors import ConfigError
from lmpipe.lm.concurrency import loop

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


async def where() -> tuple[bool, str]:
    return loop.on_loop(), NAME.get()


def test_run_sync_returns_the_result() -> None:
    assert loop.run_sync(where()) == (True, "nobody")


_EXITS = """
import asyncio, sys
from lmpipe.lm.concurrency import loop

async def leave(error):
    async with asyncio.TaskGroup() as group:
        group.create_task(loop.in_thread(raises, error))

def raises(error):
    raise error

async def answer():
    return 1

for error in (SystemExit(3), KeyboardInterrupt()):
    try:
        loop.run_sync(leave(error))
    except (SystemExit, KeyboardInterrupt) as raised:
        assert raised is error
print(loop.run_sync(answer()))
"""


def test_an_exit_in_code_of_the_user_reaches_the_caller_and_leaves_the_loop_to_others() -> None:
    # In a process of its own: without the loop it would wait for ever.
    ended = subprocess.run(
        [sys.executable, "-c", _EXITS],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.stdout, ended.stderr) == ("1\n", "")


async def test_run_sync_works_inside_another_loop() -> None:
    assert not loop.on_loop()
    assert loop.run_sync(where())[0]


def test_run_sync_raises_the_error() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.run_sync(fail())


async def test_the_callers_context_is_kept() -> None:
    NAME.set("ann")
    assert loop.run_sync(where()) == (True, "ann")
    assert await loop.bridge(where()) == (True, "ann")
    assert await loop.in_thread(NAME.get) == "ann"


async def test_bridge_awaits_on_the_librarys_loop() -> None:
    assert (await loop.bridge(where()))[0]

    async def nested() -> bool:
        return (await loop.bridge(where()))[0]

    assert loop.run_sync(nested())


async def test_cancelling_a_bridge_cancels_its_coroutine() -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def wait_forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    bridged = asyncio.create_task(loop.bridge(wait_forever()))
    await asyncio.to_thread(started.wait, 10)
    bridged.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bridged
    assert await asyncio.to_thread(cancelled.wait, 10)


def test_run_sync_on_the_loop_is_refused_without_a_warning() -> None:
    async def blocks() -> None:
        loop.run_sync(where())

    with pytest.raises(ConfigError, match="without await"):
        loop.run_sync(blocks())


def test_many_threads_share_one_loop() -> None:
    idents: list[int] = []

    async def ident() -> int:
        return threading.get_ident()

    threads = [
        threading.Thread(target=lambda: idents.append(loop.run_sync(ident()))) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(idents) == 10
    assert len(set(idents)) == 1


def test_threads_may_wait_for_threads() -> None:
    def inner() -> int:
        return 1

    def outer() -> int:
        return loop.run_sync(loop.in_thread(inner))

    async def many() -> list[int]:
        return await asyncio.gather(*(loop.in_thread(outer) for _ in range(300)))

    assert loop.run_sync(many()) == [1] * 300


async def _interrupted(log: list[str]) -> None:
    main = threading.main_thread().ident
    while sys._current_frames()[main or 0].f_code.co_name != "wait":  # noqa: ASYNC110
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)  # the cleanup may take several steps of the loop
        log.append("cleaned up")


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="signals go to the main thread",
)
def test_ctrl_c_cancels_and_waits_for_the_cleanup() -> None:
    log: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        loop.run_sync(_interrupted(log))
    assert log == ["cleaned up"]


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="signals go to the main thread",
)
def test_ctrl_c_is_raised_when_the_cleanup_fails() -> None:
    async def fail_to_clean_up() -> None:
        try:
            await _interrupted([])
        except asyncio.CancelledError:
            raise ValueError("during the cleanup") from None

    with pytest.raises(KeyboardInterrupt):
        loop.run_sync(fail_to_clean_up())


_FORK = """
import os
from lmpipe.lm.concurrency import loop

async def one():
    return 1

assert loop.run_sync(one()) == 1
child = os.fork()
if child == 0:
    os._exit(0 if loop.run_sync(one()) == 1 else 1)
assert os.waitpid(child, 0)[1] == 0
assert loop.run_sync(one()) == 1
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_gets_a_new_loop() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORK], check=True, timeout=30)


async def test_a_thread_that_nobody_waits_for_is_cancelled_at_its_next_call() -> None:
    called, ended = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    async def forever() -> None:
        called.set()
        await asyncio.Event().wait()

    def forward() -> None:
        for _ in range(2):  # catching the first cancellation does not help
            try:
                loop.run_sync(forever())
            except asyncio.CancelledError as error:
                errors.append(error)
        ended.set()

    task = asyncio.ensure_future(loop.in_thread(forward))
    await asyncio.to_thread(called.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 10)
    assert len(errors) == 2
