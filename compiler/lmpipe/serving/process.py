"""A server's process, held through its guard so that it never outlives its owner."""

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

GRACE = 10.0

_GUARD = Path(__file__).with_name("guard.py")
_LOG_LIMIT = 8 * 2**20
_LOGS_KEPT = 20
_TAIL = 2**16

# Held here so that the interpreter's end stops them, whatever became of their owners.
_running: set[GuardedProcess] = set()


class GuardedProcess:
    """A command that runs until it is stopped, or until this process is gone, however it went.

    Its output goes to a file, which keeps the tail. It belongs to no event loop.

    Args:
        command: what to run.
        environment: the whole environment; the value of VLLM_API_KEY is kept out of the log.
        log: where its output goes.
        grace: seconds between being asked to end and being killed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        grace: float = GRACE,
    ) -> None:
        self.log = log
        self._grace = grace
        self._owner = os.getpid()
        self._pid: int | None = None
        self._read = 0
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(log), str(grace), str(_LOG_LIMIT)]
        # In a session of its own, the guard is not reached by a terminal's Ctrl-C.
        self._guard = subprocess.Popen(  # noqa: S603 - what the caller asked to run
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
        """The command's process id; None until its guard has told it."""
        if self._pid is None and self._guard.stdout and not self._guard.stdout.closed:
            told = self._guard.stdout.read(32)  # it is told in one piece
            self._pid = int(told) if told else None
        return self._pid

    @property
    def exit_status(self) -> int | None:
        """What the command ended with, below 0 for a signal; None while it runs."""
        status = self._guard.poll()
        if status is None:
            return None
        if status < 0 and self in _running:  # the guard was killed: what it guarded is left to us
            self._kill_group()
        self._close()
        return 128 - status if status > 128 else status

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.exit_status is None

    def new_lines(self) -> list[str]:
        """What it has written since this was asked last."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(self._read)
            data = file.read()
            whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            self._read += whole
            return _lines(data[:whole])
        return []

    def last_lines(self) -> list[str]:
        """The end of what it has written."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return _lines(file.read())
        return []

    async def stop(self) -> None:
        """Ask it to end, wait, and after its grace have it killed with all that it started."""
        self._release()
        await asyncio.to_thread(self._wait)

    def stop_now(self) -> None:
        """Like `stop`, for callers without a loop."""
        if os.getpid() == self._owner:  # a forked child has a copy of its parent's
            self._release()
            self._wait()

    def let_go(self) -> None:
        """Close this process's end of the pipe: the guard does not wait for a forked child."""
        self._release()

    def _release(self) -> None:
        if self._guard.stdin is not None:
            self._guard.stdin.close()

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
        self._release()
        if self._guard.stdout is not None and not self._guard.stdout.closed:
            _ = self.pid
            self._guard.stdout.close()
        _running.discard(self)


def log_file(name: str) -> Path:
    """A new log file for a server of that name; the oldest ones are dropped.

    Raises:
        ConfigError: if there is no folder for it.
    """
    folder = home_folder() / "servers"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"no logs of servers can be kept in {folder}: {error.strerror or error}; set "
            "LMPIPE_HOME to a folder that can be written to"
        ) from error
    logs = sorted(folder.glob("*.log"))  # their names begin with the time
    for old in logs[: max(0, len(logs) - _LOGS_KEPT + 1)]:
        old.unlink(missing_ok=True)
    short = re.sub(r"[^\w.-]+", "-", name).strip("-")[-60:] or "model"
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{short}-{os.urandom(3).hex()}.log"


def _lines(data: bytes) -> list[str]:
    text = data.decode(errors="replace").replace("\r", "\n")
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def _stop_all() -> None:
    running = [one for one in _running if one._owner == os.getpid()]
    for process in running:
        process.let_go()  # all at once, so that their graces run side by side
    for process in running:
        process.stop_now()


def _let_all_go() -> None:
    for process in list(_running):
        process.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_all_go)
