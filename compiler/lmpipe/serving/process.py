"""`GuardedProcess`: a server's process, run under a guard so that it never outlives its owner."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmpipe.errors import ConfigError
from lmpipe.foundation.atomic_files import home_folder
from lmpipe.foundation.redaction import is_secret_name

GRACE = 10.0

_GUARD = Path(__file__).with_name("guard.py")
_LOG_LIMIT = 8 * 2**20
_MAX_LOGS = 20
_TAIL = 2**16

# Referenced here so that the interpreter stops them at exit, even if their owners were dropped.
_running: set[GuardedProcess] = set()


class GuardedProcess:
    """A command that runs until it is stopped, or until this process ends, however that happens.

    Its output goes to a log file that only this user can read, which keeps the tail without the
    values of variables with secrets, such as VLLM_API_KEY. It belongs to no event loop. `grace` is
    the time between SIGTERM and SIGKILL, in seconds.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        grace: float = GRACE,
    ) -> None:
        self.command = tuple(command)
        self.log = log
        self._grace = grace
        self._owner = os.getpid()
        self._pid: int | None = None
        self._read = 0
        secrets = ",".join(filter(is_secret_name, environment))
        guard = [sys.executable, "-I", "-S", str(_GUARD)]
        guard += [str(log), str(grace), str(_LOG_LIMIT), secrets]
        # In its own session, the guard does not receive the terminal's Ctrl-C.
        self._guard = subprocess.Popen(  # noqa: S603 - the command is the caller's
            [*guard, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,
            bufsize=0,
        )
        assert self._guard.stdout is not None
        os.set_blocking(self._guard.stdout.fileno(), False)
        if not _running:
            atexit.register(_stop_all)
        _running.add(self)

    @property
    def pid(self) -> int | None:
        """The command's process id; None until the guard has reported it."""
        if self._pid is None and self._guard.stdout and not self._guard.stdout.closed:
            line = self._guard.stdout.read(32)  # the guard writes it in one piece
            self._pid = int(line) if line else None
        return self._pid

    @property
    def exit_status(self) -> int | None:
        """The command's exit status, negative for a signal; None while it runs."""
        status = self._guard.poll()
        if status is None:
            return None
        if status < 0 and self in _running:  # the guard was killed: end its command from here
            self._kill_group()
        self._close()
        return 128 - status if status > 128 else status

    @property
    def running(self) -> bool:
        """Whether the command has not ended."""
        return self.exit_status is None

    def new_lines(self) -> list[str]:
        """Return the log lines since the last call."""
        data = self._read_log(self._read)
        complete = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        self._read += complete
        return _split_lines(data[:complete])

    def last_lines(self) -> list[str]:
        """Return the last lines of the log."""
        return _split_lines(self._read_log(0)[-_TAIL:])

    async def stop(self) -> None:
        """Send SIGTERM and wait; after the grace period, kill it with all its children."""
        self.let_go()
        await asyncio.to_thread(self._wait)

    def stop_now(self) -> None:
        """Like `stop`, for callers without an event loop."""
        if os.getpid() == self._owner:  # a forked child has a copy of its parent's object
            self.let_go()
            self._wait()

    def let_go(self) -> None:
        """Close this process's end of the pipe, which ends the guard and its command."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def _read_log(self, start: int) -> bytes:
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(start)
            return file.read()
        return b""

    def _wait(self) -> None:
        try:
            self._guard.wait(self._grace + 30)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self._guard.kill()
            self._guard.wait()
        self._close()

    def _kill_group(self) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _close(self) -> None:
        self.let_go()
        if self._guard.stdout is not None and not self._guard.stdout.closed:
            _ = self.pid
            self._guard.stdout.close()
        _running.discard(self)


def log_file(name: str) -> Path:
    """Return the path of a new log file for a server; the oldest log files are deleted."""
    folder = home_folder() / "servers"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"server logs cannot be written to {folder}: {error.strerror or error}; set "
            "LMPIPE_HOME to a writable folder"
        ) from error
    logs = sorted(folder.glob("*.log"))  # their names start with the time
    for old in logs[: max(0, len(logs) - _MAX_LOGS + 1)]:
        old.unlink(missing_ok=True)
    short = re.sub(r"[^\w.-]+", "-", name).strip("-")[-60:] or "model"
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{short}-{os.urandom(3).hex()}.log"


def _split_lines(data: bytes) -> list[str]:
    text = data.decode(errors="replace").replace("\r", "\n")
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def _stop_all() -> None:
    running = [process for process in _running if process._owner == os.getpid()]
    for process in running:
        process.let_go()  # all at once, so that their grace periods overlap
    for process in running:
        process.stop_now()


def _let_all_go() -> None:
    for process in list(_running):
        process.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_all_go)
