"""The one event loop on which LM calls run, in a thread of its own.

Plain Python calls in from any thread, and so do coroutines of other loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from lmpipe.errors import ConfigError
from lmpipe.lm.concurrency.mailbox import Job, mailbox_of

T = TypeVar("T")

# Threads for sync `forward` methods. They mostly wait, also for one another (a step that runs a
# batch of its own), so a tight bound would be a deadlock: callers bound how many runs there are.
_MAX_THREADS = 100_000


class _LoopThread:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.mailbox = mailbox_of(self.loop)
        self.executor = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="lmpipe-forward")
        self.thread = threading.Thread(target=self._run, name="lmpipe-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_lock = threading.Lock()
_current: _LoopThread | None = None


def _get() -> _LoopThread:
    global _current  # noqa: PLW0603 - the one loop of the process
    if _current is None:
        with _lock:
            if _current is None:
                _current = _LoopThread()
    return _current


class _Wait(Generic[T]):
    """A thread's wait for a coroutine on the loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._landed = False
        self._job = Job(coroutine, _get().mailbox, self._land)
        self._job.start()
        self.cancel = self._job.cancel

    def wait(self) -> T:
        """Wait; whatever the coroutine raised is raised here."""
        # Asked again by who was interrupted here, perhaps with the lock just taken.
        if not self._landed:
            self._lock.acquire()
        return self._job.outcome()

    def _land(self) -> None:
        self._landed = True
        self._lock.release()


class _Stop:
    """Lets a thread that nobody waits for any more end at its next LM call.

    Threads cannot be cancelled. Without this, the sync `forward`s of a compile that was
    interrupted would go on asking the LM, and Python would wait for them before it exits.
    """

    def __init__(self) -> None:
        self._stopped = False
        self._waiting: set[_Wait[Any]] = set()
        self._lock = threading.Lock()

    def wait(self, wait: _Wait[T]) -> T:
        with self._lock:
            self._waiting.add(wait)
            stopped = self._stopped
        if stopped:
            wait.cancel()
        try:
            return wait.wait()
        finally:
            with self._lock:
                self._waiting.discard(wait)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            waiting = list(self._waiting)
        for wait in waiting:
            wait.cancel()


_stop: contextvars.ContextVar[_Stop | None] = contextvars.ContextVar("lmpipe_stop", default=None)


def _forget() -> None:
    global _current  # noqa: PLW0603 - a forked child has no copy of the thread
    _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def on_loop() -> bool:
    """Whether the caller runs on the library's loop."""
    return _current is not None and threading.current_thread() is _current.thread


def submit(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine on the loop, in the caller's context."""
    return asyncio.run_coroutine_threadsafe(coroutine, _get().loop)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop and wait for it.

    Ctrl-C cancels it and waits until it has cleaned up.

    Raises:
        ConfigError: if called on the loop itself, which would wait for itself for ever.
    """
    if on_loop():
        coroutine.close()  # or Python warns that nobody awaited it
    check_not_on_loop()
    wait = _Wait(coroutine)
    try:
        stop = _stop.get()
        return wait.wait() if stop is None else stop.wait(wait)
    except KeyboardInterrupt:
        wait.cancel()
        # Whatever cleaning up raises, the caller asked to stop.
        with contextlib.suppress(Exception, asyncio.CancelledError):
            wait.wait()
        raise


def check_not_on_loop() -> None:
    """Refuse a blocking call from inside an async `forward`.

    Raises:
        ConfigError: if the caller runs on the loop.
    """
    if on_loop():
        raise ConfigError(
            "a predictor was called without await inside an async forward or a metric, which "
            "would block every other call: write `await self.predictor.acall(…)`; a metric that "
            "is not async says that it asks, by @lmpipe.metrics.judge(max_calls=1)"
        )


async def bridge(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine on the library's loop, from whichever loop the caller runs on."""
    if on_loop():
        return await coroutine
    near = asyncio.get_running_loop()
    landed, mailbox = near.create_future(), mailbox_of(near)

    def settle() -> None:
        if not landed.done():
            landed.set_result(None)

    job = Job(coroutine, _get().mailbox, lambda: mailbox.post(settle))
    job.start()
    try:
        await landed
    except asyncio.CancelledError:
        job.cancel()
        raise
    return job.outcome()


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run blocking code in a thread, in the caller's context.

    If the caller is cancelled, the thread's calls into the loop fail from then on.
    """
    context = contextvars.copy_context()
    stop = _Stop()
    context.run(_stop.set, stop)
    near = asyncio.get_running_loop()
    ended, mailbox = near.create_future(), mailbox_of(near)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def settle() -> None:
        if not ended.done():
            ended.set_result(None)

    def work() -> None:
        try:
            outcome.append(context.run(function, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits
            failure.append(error)
        with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits
            mailbox.post(settle)

    _get().executor.submit(work)
    try:
        await ended
    except asyncio.CancelledError:
        stop.stop()
        raise
    if failure:
        raise failure.pop()
    return outcome[0]
