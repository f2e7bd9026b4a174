"""How work crosses from one thread or loop to another: cheaply, as every LM call may do it."""

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
    """Callbacks for a loop from other threads.

    Those that come while it is awake already wake it no second time: a wake-up is a system call,
    and a fight for the interpreter's lock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._posted: deque[Callable[[], object]] = deque()
        self._woken = False

    def post(self, callback: Callable[[], object]) -> None:
        """Have the loop call this soon.

        Raises:
            RuntimeError: if the loop is closed.
        """
        self._posted.append(callback)
        if not self._woken:
            self._woken = True
            self.loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        # First the flag: what is posted after the last look wakes the loop again.
        self._woken = False
        while self._posted:
            self._posted.popleft()()


_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()


def mailbox_of(loop: asyncio.AbstractEventLoop) -> Mailbox:
    """The one mailbox of a loop."""
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _mailboxes[loop] = Mailbox(loop)
    return mailbox


class Job(Generic[T]):
    """A coroutine that another thread's loop runs, in the context of whoever made the job.

    `concurrent.futures` would do the same in twice as many steps.

    Args:
        coroutine: what to run.
        mailbox: of the loop that runs it.
        landed: called once in that loop's thread, when it has ended.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], mailbox: Mailbox, landed: Callable[[], object]
    ) -> None:
        self._coroutine = coroutine
        self._mailbox = mailbox
        self._landed = landed
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._result: T

    def start(self) -> None:
        """Have it run."""
        self._mailbox.post(self._start)

    def cancel(self) -> None:
        """Have it cancelled; it still lands."""
        self._mailbox.post(self._cancel)

    def outcome(self) -> T:
        """What it returned; whatever it raised is raised here."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # or the traceback and this object would keep each other
        return self._result

    def _start(self) -> None:
        self._task = self._mailbox.loop.create_task(self._run(), context=self._context)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.add_done_callback(self._ended)
            self._task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step, so that `_run` did not say so
            self._coroutine.close()
            self._error = asyncio.CancelledError()
            self._land()

    async def _run(self) -> None:
        try:
            self._result = await self._coroutine
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits for it
            self._error = error
        self._land()

    def _land(self) -> None:
        with contextlib.suppress(RuntimeError):  # a closed loop: nobody waits
            self._landed()
