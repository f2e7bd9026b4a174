"""The event loop on which all LM calls run, in a dedicated thread.

Plain Python in any thread can run coroutines on it, and so can coroutines on other loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from threading import get_ident
from typing import Any, Generic, ParamSpec, TypeVar

from lmpipe.errors import ConfigError
from lmpipe.foundation.async_functions import is_async
from lmpipe.foundation.termination import Terminated, notes_of
from lmpipe.lm.concurrency.mailbox import RemoteTask, get_mailbox

P = ParamSpec("P")
T = TypeVar("T")

# The limit of threads for sync `forward` methods. These mostly wait, also for each other (a step
# may run a batch), so a low limit could cause a deadlock. Callers limit the number of runs.
_MAX_THREADS = 100_000


class _LoopThread:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.mailbox = get_mailbox(self.loop)
        self.executor = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="lmpipe-forward")
        self.thread = threading.Thread(target=self._run, name="lmpipe-loop", daemon=True)
        self.thread.start()
        self.ident = self.thread.ident

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        stopped = False
        while not stopped:
            # Where code of a user raises one of these in a task, as by `sys.exit()`, asyncio ends
            # its loop; whoever waits for the task gets the error, and the others need the loop.
            with contextlib.suppress(KeyboardInterrupt, SystemExit):
                self.loop.run_forever()
                stopped = True


_lock = threading.Lock()
_current: _LoopThread | None = None


def _loop_thread() -> _LoopThread:
    global _current  # noqa: PLW0603 - the one loop of the process
    if _current is None:
        with _lock:
            if _current is None:
                _current = _LoopThread()
    return _current


class _Wait(Generic[T]):
    """A thread that waits for a coroutine on the loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._done = False
        self._task = RemoteTask(coroutine, _loop_thread().mailbox, self._finish)
        self._task.start()
        self.cancel = self._task.cancel

    def wait(self) -> T:
        """Wait for the result; raises the exception of the coroutine."""
        # After a KeyboardInterrupt this is called again, perhaps with the lock already acquired.
        if not self._done:
            self._lock.acquire()
        return self._task.result()

    def _finish(self) -> None:
        self._done = True
        self._lock.release()


class _Cancellation:
    """Ends a thread that nobody waits for at its next LM call.

    Threads cannot be cancelled. Without this, the sync `forward` methods of an interrupted compile
    would continue to call the LM, and Python would wait for them at exit.
    """

    def __init__(self) -> None:
        self._cancelled = False
        self._waiting: set[_Wait[Any]] = set()
        self._lock = threading.Lock()

    def wait(self, wait: _Wait[T]) -> T:
        with self._lock:
            self._waiting.add(wait)
            cancelled = self._cancelled
        if cancelled:
            wait.cancel()
        try:
            return wait.wait()
        finally:
            with self._lock:
                self._waiting.discard(wait)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            waiting = list(self._waiting)
        for wait in waiting:
            wait.cancel()


_cancellation: contextvars.ContextVar[_Cancellation | None] = contextvars.ContextVar(
    "lmpipe_cancellation", default=None
)


def _forget() -> None:
    global _current  # noqa: PLW0603 - a forked child does not inherit the thread
    _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def on_loop() -> bool:
    """Return whether the caller runs on the library's loop."""
    return _current is not None and get_ident() == _current.ident


def submit(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine on the loop, in the caller's context."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop_thread().loop)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop and wait for its result.

    Ctrl-C, or `Terminated`, cancels the coroutine and waits until it has cleaned up. What the
    coroutine says to that, as the message of its CancelledError, becomes a note of the exception.
    """
    if on_loop():
        coroutine.close()  # prevents the warning that it was never awaited
    check_not_on_loop()
    wait = _Wait(coroutine)
    try:
        cancellation = _cancellation.get()
        return wait.wait() if cancellation is None else cancellation.wait(wait)
    except (KeyboardInterrupt, Terminated) as stop:
        wait.cancel()
        # Errors during the cleanup do not matter: the user wants to stop.
        with contextlib.suppress(Exception):
            try:
                wait.wait()
            except asyncio.CancelledError as cancelled:
                for said in cancelled.args:
                    stop.add_note(str(said))
        raise


def check_not_on_loop() -> None:
    """Raise a ConfigError for a blocking call from inside an async `forward`."""
    if _current is not None and get_ident() == _current.ident:  # `on_loop`, without its call
        raise ConfigError(
            "a predictor was called without await inside an async forward, tool or metric, which "
            "would block every other call: write `await self.predictor.acall(…)`; declare the LM "
            "calls of a sync metric with @lmpipe.metrics.judge(max_calls=1)"
        )


def blocking(
    function: Callable[P, Coroutine[Any, Any, T]], *, interrupted: str = ""
) -> Callable[P, T]:
    """Make a function that runs a coroutine function on lmpipe's loop and waits for its result.

    The name drops its leading `a`: `evaluate = blocking(aevaluate)`. `interrupted` is what the
    user is told after Ctrl-C.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return run_sync(function(*args, **kwargs))
        except KeyboardInterrupt as stop:
            # A new one: where the library was waiting tells the user nothing.
            again = KeyboardInterrupt(interrupted)
            for note in notes_of(stop):
                again.add_note(note)
            raise again from None

    call.__name__ = call.__qualname__ = function.__name__.removeprefix("a")
    return call


async def bridge(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine that runs on the library's loop, from any event loop."""
    if on_loop():
        return await coroutine
    return await run_on(_loop_thread().loop, coroutine)


async def run_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine that runs on a loop, from any event loop.

    Raises:
        RuntimeError: if the loop is closed.
    """
    own_loop = asyncio.get_running_loop()
    if own_loop is loop:
        return await coroutine
    if loop.is_closed():
        coroutine.close()  # prevents the warning that it was never awaited
        raise RuntimeError("the event loop is closed")
    done, mailbox = own_loop.create_future(), get_mailbox(own_loop)

    def settle() -> None:
        if not done.done():
            done.set_result(None)

    task = RemoteTask(coroutine, get_mailbox(loop), lambda: mailbox.post(settle))
    task.start()
    try:
        await done
    except asyncio.CancelledError:
        task.cancel()
        raise
    return task.result()


async def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function that may be async; a sync one in a thread, because it may wait."""
    if is_async(function):
        return await function(*args, **kwargs)
    value = await in_thread(function, *args, **kwargs)
    return await value if inspect.isawaitable(value) else value


async def in_thread(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Run blocking code in a thread, in the caller's context.

    If the caller is cancelled, LM calls that the thread makes later are cancelled too.
    """
    context = contextvars.copy_context()
    cancellation = _Cancellation()
    context.run(_cancellation.set, cancellation)
    own_loop = asyncio.get_running_loop()
    ended, mailbox = own_loop.create_future(), get_mailbox(own_loop)
    result: list[T] = []
    failure: list[BaseException] = []

    def settle() -> None:
        if not ended.done():
            ended.set_result(None)

    def work() -> None:
        try:
            result.append(context.run(function, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            failure.append(error)
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed
            mailbox.post(settle)

    _loop_thread().executor.submit(work)
    try:
        await ended
    except asyncio.CancelledError:
        cancellation.cancel()
        raise
    if failure:
        raise failure.pop()
    return result[0]
