"""Hand callbacks and coroutines to an event loop from other threads, at low cost.

Every LM call may cross threads twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class Mailbox:
    """Callbacks for an event loop from other threads.

    The loop is woken once for all callbacks posted until it runs: a wake-up is a system call and
    makes threads compete for the interpreter lock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._posted: deque[Callable[[], object]] = deque()
        self._woken = False

    def post(self, callback: Callable[[], object]) -> None:
        """Have the loop call a function soon; raise a RuntimeError if the loop is closed."""
        self._posted.append(callback)
        if not self._woken:
            self._woken = True
            self.loop.call_soon_threadsafe(self._run_posted)

    def _run_posted(self) -> None:
        # The flag comes first, so that a callback posted after the last check wakes the loop again.
        self._woken = False
        while self._posted:
            self._posted.popleft()()


_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()


def get_mailbox(loop: asyncio.AbstractEventLoop) -> Mailbox:
    """Return the mailbox of a loop; there is one per loop."""
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _mailboxes[loop] = Mailbox(loop)
    return mailbox


class RemoteTask(Generic[T]):
    """A coroutine that another thread's loop runs, in the context of the thread that created it.

    It takes half as many steps as `asyncio.run_coroutine_threadsafe`. `on_done` is called once at
    the end, in the thread of that loop.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], mailbox: Mailbox, on_done: Callable[[], object]
    ) -> None:
        self._coroutine = coroutine
        self._mailbox = mailbox
        self._on_done = on_done
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._result: T

    def start(self) -> None:
        """Start the coroutine."""
        self._mailbox.post(self._start)

    def cancel(self) -> None:
        """Cancel the coroutine; `on_done` is still called."""
        self._mailbox.post(self._cancel)

    def result(self) -> T:
        """Return the result of the finished coroutine, or raise its exception."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # breaks the cycle of the traceback and this object
        return self._result

    def _start(self) -> None:
        self._task = self._mailbox.loop.create_task(self._run(), context=self._context)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.add_done_callback(self._task_done)
            self._task.cancel()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step, so `_run` did not report it
            self._coroutine.close()
            self._error = asyncio.CancelledError()
            self._report_done()

    async def _run(self) -> None:
        try:
            self._result = await self._coroutine
        except BaseException as error:  # noqa: BLE001 - raised again by `result`
            self._error = error
        self._report_done()

    def _report_done(self) -> None:
        with contextlib.suppress(RuntimeError):  # the waiting loop is closed
            self._on_done()
