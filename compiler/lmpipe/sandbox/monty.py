"""`MontySandbox`: a small Python interpreter, written in Rust, in a process of its own.

See https://github.com/pydantic/monty.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import os
import signal
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import JsonValue

from lmpipe.errors import ConfigError, SandboxError
from lmpipe.lm.concurrency import loop
from lmpipe.sandbox.host_functions import Answer, HostCalls, HostFunction
from lmpipe.sandbox.limits import SandboxLimits
from lmpipe.sandbox.printed import Printed
from lmpipe.sandbox.result import (
    CRASH,
    Limit,
    SandboxResult,
    error_text,
    memory_error,
    time_error,
)
from lmpipe.sandbox.sandbox import Sandbox
from lmpipe.sandbox.session import Session
from lmpipe.sandbox.values import plain_value

if TYPE_CHECKING:
    import pydantic_monty

_NO_CLOCK = (
    "the sandbox has no clock, so that runs can be repeated: use a date or a time that is given"
)
# Calls of host functions are counted here; names that are looked up count for monty as well.
_MOST_SUSPENSIONS = 10**9
# How monty's messages about its own limits begin.
_TIME, _MEMORY = "feed time limit exceeded", ("memory limit exceeded", "the worker exceeded")


@dataclass(frozen=True, kw_only=True)
class MontySandbox(Sandbox):
    """Runs code in Monty: it starts in milliseconds, and equal code gives equal results.

    Its Python is a part of Python: no `yield`, `del`, base classes and decorated methods, and of
    the standard library the modules that `rules` names. It needs `lmpipe[sandbox]`.

    Args:
        limits: what the code may use.
        now: the date and time that the code sees; if None, it has no clock.
    """

    now: datetime | None = None

    rules: ClassVar[str] = (
        "The Python is a part of Python: functions, lambdas, comprehensions, simple classes, "
        "exceptions and f-strings, with the modules base64, bisect, collections, copy, csv, "
        "dataclasses, datetime, decimal, functools, hashlib, itertools, json, math, random, re, "
        "typing and unicodedata. It has no other modules, no yield, no del, no base classes, no "
        "decorated methods, no files, no network and no clock."
    )

    def session(self, functions: Mapping[str, HostFunction] | None = None) -> Session:
        return _MontySession(self.limits, functions or {}, self.now)


class _MontySession(Session):
    """Monty's calls block, so they are made in a thread.

    Its async interface has threads of its own, which abort a process that ends while they run.
    """

    sandbox = "MontySandbox"

    def __init__(
        self,
        limits: SandboxLimits,
        functions: Mapping[str, HostFunction],
        now: datetime | None,
    ) -> None:
        super().__init__(limits, functions)
        self._now = now
        self._process: ExitStack | None = None
        self._session: pydantic_monty.MontySession | None = None
        self._worker: int | None = None  # the id of its process
        self._in_use = threading.Lock()  # held by the thread that uses the process
        self._placeholders = {name: _placeholder(name) for name in functions}

    async def _execute(
        self, code: str, variables: Mapping[str, JsonValue], calls: HostCalls
    ) -> SandboxResult:
        given_up = threading.Event()
        try:
            return await loop.in_thread(self._run_code, code, variables, calls, given_up)
        except asyncio.CancelledError:
            given_up.set()
            self._kill()  # a thread cannot be stopped, but what it waits for can
            raise

    async def _end(self) -> None:
        await loop.in_thread(self._stop)

    def _kill(self) -> None:
        worker = self._worker
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(worker, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _start(self) -> pydantic_monty.MontySession:
        """Start the process if there is none.

        Raises:
            ConfigError: if the package is not installed.
            SandboxError: if its program cannot be started.
        """
        if self._session is not None:
            return self._session
        try:
            import pydantic_monty as monty
        except ImportError:
            raise ConfigError(
                "MontySandbox needs the package pydantic-monty: pip install 'lmpipe[sandbox]'"
            ) from None
        try:
            with ExitStack() as stack:
                pool = stack.enter_context(monty.Monty(max_processes=1))
                checkout = pool.checkout(
                    limits={
                        "max_feed_duration_secs": self.limits.seconds,
                        "max_memory": self.limits.memory_bytes,
                        "max_suspensions": _MOST_SUSPENSIONS,
                    },
                    os_policy={
                        "datetime": "call_host" if self._now is None else self._now,
                        "sleep": "zero",
                        "random_start": {"seed": 0},
                    },
                )
                self._session = session = stack.enter_context(checkout)
                self._worker = session.worker_pid
                self._process = stack.pop_all()
        except (monty.MontyError, OSError, RuntimeError) as error:
            raise SandboxError(
                f"the sandbox of pydantic-monty cannot be started: {error}; check that the "
                "command `monty --version` runs"
            ) from error
        return self._session

    def _stop(self) -> None:
        with self._in_use:
            self._close()

    def _close(self) -> None:
        process, self._process = self._process, None
        self._session = self._worker = None
        if process is not None:
            process.close()

    def _run_code(
        self,
        code: str,
        variables: Mapping[str, JsonValue],
        calls: HostCalls,
        given_up: threading.Event,
    ) -> SandboxResult:
        with self._in_use:
            session = self._start()
            if given_up.is_set():  # before there was a process to kill
                self._close()
                raise asyncio.CancelledError
            return self._feed(session, code, variables, calls)

    def _feed(
        self,
        session: pydantic_monty.MontySession,
        code: str,
        variables: Mapping[str, JsonValue],
        calls: HostCalls,
    ) -> SandboxResult:
        import pydantic_monty as monty

        printed = Printed(self.limits.output_chars)
        try:
            if variables:
                # Apart, so that later code has them if this one cannot be compiled.
                session.feed_run("None", inputs=dict(variables))
            snapshot = session.feed_start(
                code, print_callback=lambda stream, text: printed.add(text)
            )
            while not isinstance(snapshot, monty.MontyComplete):
                snapshot = self._go_on(snapshot, calls)
            value = plain_value(snapshot.output)
        except (monty.MontyError, ValueError, RecursionError) as error:
            return self._failed(error, printed, calls)
        except BaseException:
            self._close()  # the code waits for an answer that it will not get
            raise
        return SandboxResult(value=value, printed=printed.text, limit=printed.limit)

    def _go_on(
        self, snapshot: pydantic_monty.SyncSnapshot, calls: HostCalls
    ) -> pydantic_monty.SyncSnapshot:
        """Answer what the code asks of this process."""
        import pydantic_monty as monty

        if isinstance(snapshot, monty.FunctionSnapshot):
            if snapshot.is_os_function:
                return _without_system(snapshot)
            call = calls.answer(str(snapshot.function_name), snapshot.args, snapshot.kwargs)
            answer = loop.run_sync(call)
            if answer.kind:
                return snapshot.resume({"exception": _exception(answer)})
            return snapshot.resume({"return_value": answer.value})
        if isinstance(snapshot, monty.NameLookupSnapshot):
            if snapshot.variable_name in self._placeholders:
                return snapshot.resume(value=self._placeholders[snapshot.variable_name])
            return snapshot.resume()
        assert isinstance(snapshot, monty.FutureSnapshot)
        return snapshot.resume_auto()

    def _failed(self, error: Exception, printed: Printed, calls: HostCalls) -> SandboxResult:
        """Tell the error that ended a run."""
        import pydantic_monty as monty

        limit: Limit
        text, kind = str(error), type(error).__name__
        frames: list[tuple[int, str]] = []
        if isinstance(error, monty.MontyRuntimeError | monty.MontySyntaxError):
            raised: Any = error  # not all type checkers find the classes of the package
            inner = raised.exception()
            text, kind = str(inner), type(inner).__name__
            frames = [(frame.line, _name(frame.function_name)) for frame in raised.traceback()]
        if kind == "SystemExit":
            return SandboxResult(printed=printed.text, limit=printed.limit)
        if kind == "TimeoutError" and text.startswith(_TIME):
            # The package asks to use no session further that it stopped in the middle.
            self._close()
            problem = time_error(self.limits)
            return SandboxResult(printed=printed.text, error=problem, limit="time", lost=True)
        if kind == "MemoryError" and text.startswith(_MEMORY):
            lost = self._is_dead()
            problem = memory_error(self.limits)
            return SandboxResult(printed=printed.text, error=problem, limit="memory", lost=lost)
        if isinstance(error, monty.MontyCrashedError):
            self._close()
            crashed: Any = error
            late = crashed.timed_out  # monty's own check came too late, as in a long operation
            problem = time_error(self.limits) if late else CRASH
            limit = "time" if late else ""
            return SandboxResult(printed=printed.text, error=problem, limit=limit, lost=True)
        limit = "calls" if calls.exceeded else printed.limit
        problem = error_text(kind, text, frames)
        return SandboxResult(printed=printed.text, error=problem, limit=limit)

    def _is_dead(self) -> bool:
        """Find out whether the process ended; if so, forget it."""
        import pydantic_monty as monty

        try:
            if self._session is not None:
                self._session.feed_run("None")
            return False
        except (monty.MontyError, RuntimeError):
            self._close()
            return True


def _placeholder(name: str) -> Any:
    """Make the function under whose name the code calls a host function; it is never run."""

    def placeholder() -> None: ...

    placeholder.__name__ = name
    return placeholder


def _without_system(
    snapshot: pydantic_monty.FunctionSnapshot,
) -> pydantic_monty.SyncSnapshot:
    """Refuse what only the system could answer."""
    if str(snapshot.function_name).startswith(("time.", "datetime.", "date.")):
        return snapshot.resume({"exception": RuntimeError(_NO_CLOCK)})
    return snapshot.resume_not_handled()


def _exception(answer: Answer) -> BaseException:
    """Make the exception that the code sees."""
    kind: type[BaseException] = getattr(builtins, answer.kind)
    try:
        return kind(answer.message)
    except TypeError:  # a class that takes more, such as UnicodeDecodeError
        return RuntimeError(f"{answer.kind}: {answer.message}")


def _name(function: str | None) -> str:
    return "" if function in (None, "<module>") else str(function)
