"""A session whose code runs in a child process that speaks JSON, one message a line.

See `child.py` for the messages. The child may be under the control of hostile code: each message
is checked, and a child that sends anything else is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from lmpipe.errors import SandboxError
from lmpipe.foundation.shorten import shorten_middle
from lmpipe.lm.concurrency.loop import in_thread
from lmpipe.sandbox.host_functions import HostCalls, HostFunction
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
from lmpipe.sandbox.session import Session

_LONGEST_LINE = 64 * 2**20  # bytes of one message of the child
_LONGEST_ERROR = 10_000
_FAREWELL_SECONDS = 1.0
_NO_LIMIT: Limit = ""


class _TimeUpError(Exception):
    """The code has used up its time."""


class _EndedError(Exception):
    """The child has ended, or what it sends cannot be read."""


@dataclass(slots=True)
class _Clock:
    """What is left of a run's time; it stands still while the child waits for this process."""

    left: float

    async def next_line(self, process: asyncio.subprocess.Process) -> str:
        started = time.monotonic()
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self.left):
                line = await process.stdout.readline()
        except TimeoutError:
            raise _TimeUpError from None
        except ValueError:  # the line is too long
            raise _EndedError from None
        finally:
            self.left -= time.monotonic() - started
        if not line.endswith(b"\n"):
            raise _EndedError
        return line.decode(errors="replace")


class ProcessSession(Session):
    """A session with a child process; subclasses say what it is."""

    start_seconds = 120.0

    def __init__(self, limits: SandboxLimits, functions: Mapping[str, HostFunction]) -> None:
        super().__init__(limits, functions)
        self._process: asyncio.subprocess.Process | None = None
        self._runs = 0

    @abstractmethod
    async def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return the command of the child and its environment.

        Raises:
            ConfigError: if it is not installed.
        """

    def _started(self, process: asyncio.subprocess.Process) -> None:
        """Hook: limit what a process may use that was just started."""

    def _starts_run(self, process: asyncio.subprocess.Process, run: int) -> None:
        """Hook: called before each run, which are counted from 1."""

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    def _is_out_of_memory(self, process: asyncio.subprocess.Process) -> bool:
        """Whether a child that has ended did so for lack of memory."""
        return process.returncode == -9

    async def _execute(
        self, code: str, variables: Mapping[str, JsonValue], calls: HostCalls
    ) -> SandboxResult:
        process = await self._ready()
        self._runs += 1
        self._starts_run(process, self._runs)
        printed, clock = Printed(self.limits.output_chars), _Clock(self.limits.seconds)
        problem, limit = CRASH, _NO_LIMIT
        try:
            await _send(process, {"run": self._runs, "code": code, "variables": variables})
            return await self._listen(process, clock, printed, calls)
        except _TimeUpError:
            problem, limit = time_error(self.limits), "time"
            await self._end()
        except (_EndedError, ConnectionError):
            # How it ended is known only until it is killed.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await process.wait()
            if self._is_out_of_memory(process):
                problem, limit = memory_error(self.limits), "memory"
            await self._end()
        except BaseException:
            await self._end()  # the code waits for an answer that it will not get
            raise
        return SandboxResult(printed=printed.text, error=problem, limit=limit, lost=True)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await self._kill(process)

    async def _ready(self) -> asyncio.subprocess.Process:
        """Return the child, which is started if there is none."""
        if self._process is not None:
            return self._process
        command, environment = await self._command()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=dict(environment),
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise SandboxError(f"the sandbox cannot be started: {error}") from error
        self._process, self._runs = process, 0
        self._started(process)
        start = {"functions": [*self.functions], "output_chars": self.limits.output_chars}
        try:
            await _send(process, start)
            await _Clock(self.start_seconds).next_line(process)
        except (_TimeUpError, _EndedError, ConnectionError) as error:
            await self._end()
            late = isinstance(error, _TimeUpError)
            problem = f"it did not start within {self.start_seconds:g} s" if late else ""
            raise SandboxError(
                f"the sandbox cannot be started: {problem or await _last_words(process)}\n"
                f"  command: {' '.join(command):.300}"
            ) from error
        except BaseException:
            await self._end()
            raise
        return process

    async def _listen(
        self,
        process: asyncio.subprocess.Process,
        clock: _Clock,
        printed: Printed,
        calls: HostCalls,
    ) -> SandboxResult:
        """Take the messages of a run up to its end."""
        while True:
            match _read(await clock.next_line(process)):
                case {"print": str(text)}:
                    printed.add(text)
                case {"call": str(name), "args": list(args), "kwargs": dict(kwargs)}:
                    answer = await calls.answer(name, args, kwargs)
                    reply = {"kind": answer.kind, "message": answer.message, "value": answer.value}
                    await _send(process, reply)
                case {"run": self._runs, "kind": str(kind), "message": str(message), **rest}:
                    error = error_text(kind, message, _frames(rest.get("frames"))) if kind else ""
                    limit = _limit(kind, printed, calls)
                    if limit == "memory":
                        error = memory_error(self.limits)
                    value: Any = rest.get("value")
                    return SandboxResult(
                        value=value, printed=printed.text, error=error, limit=limit
                    )
                case _:
                    raise _EndedError


def _limit(kind: str, printed: Printed, calls: HostCalls) -> Limit:
    if kind == "MemoryError":
        return "memory"
    return "calls" if kind and calls.exceeded else printed.limit


def _read(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise _EndedError from None


def _frames(value: object) -> list[tuple[int, str]]:
    """Read the lines of an error; what is none is left out."""
    found = []
    for item in value if isinstance(value, list) else []:
        match item:
            case [int(line), str(name)]:
                found.append((line, name[:100]))
    return found


async def _send(process: asyncio.subprocess.Process, message: Mapping[str, object]) -> None:
    assert process.stdin is not None
    # Long variables take their time to be written, which other calls do not wait for.
    data = await in_thread(lambda: json.dumps(message).encode() + b"\n")
    process.stdin.write(data)
    await process.stdin.drain()


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """Return what a process that has ended wrote to stderr."""
    assert process.stderr is not None
    try:
        async with asyncio.timeout(_FAREWELL_SECONDS):
            said = await process.stderr.read(_LONGEST_ERROR)
    except TimeoutError:
        said = b""
    text = said.decode(errors="replace").strip()
    return shorten_middle(text, head=500, tail=500) or "it ended without a word"
