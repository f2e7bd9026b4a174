"""Run a server as a child process that ends when lmpipe ends, however that happens.

A script that uses the standard library only: `guard.py LOG GRACE LIMIT SECRETS COMMAND…`. Its
standard input is a pipe from lmpipe: when the pipe closes, the server gets SIGTERM, and after GRACE
seconds it is killed with all its descendants. The server's output goes to LOG, which only this user
can read and which keeps about the last LIMIT bytes, without the values of the variables whose names
SECRETS lists, with commas in between. The script writes the server's process id to standard output
and exits with the server's exit status.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # of Linux's prctl
_PARENT_CHECK = 1.0  # seconds between checks for a parent that ended without closing the pipe
_DRAIN_TIME = 2.0  # seconds to wait for the rest of the output after all processes are killed
_KEY = "VLLM_API_KEY"
_SHORTEST = 8  # characters of a secret; a shorter variable, such as `1`, is a switch


class Log:
    """A log file whose older half is dropped above `limit` bytes, with `***` for secrets."""

    def __init__(self, path: str, limit: int, secrets: list[bytes]) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        try:
            self._file = os.fdopen(os.open(path, flags, 0o600), "w+b", buffering=0)
        except OSError:  # run the server without a log
            self._file = open(os.devnull, "w+b", buffering=0)  # noqa: SIM115
        self._limit, self._secrets = limit, sorted(secrets, key=len, reverse=True)
        self._size = 0
        self._line = b""

    def write(self, data: bytes) -> None:
        """Write complete lines; keep the rest, because it may end in half of a secret."""
        data = self._line + data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end and len(data) > self._limit:
            end = len(data)
        self._line = data[end:]
        self._put(data[:end])

    def end(self) -> None:
        """Write the incomplete last line."""
        self._put(self._line)
        self._line = b""

    def _put(self, data: bytes) -> None:
        if not data:
            return
        for secret in self._secrets:
            data = data.replace(secret, b"***")
        try:
            if self._size > self._limit:
                self._file.seek(-(self._limit // 2), os.SEEK_END)
                data = self._file.read() + data
                self._file.seek(0)
                self._file.truncate()
                self._size = 0
            self._size += self._file.write(data)
        except OSError:  # the disk is full: continue without a log
            self._size = 0


def main() -> int:
    """Run the server until it or lmpipe ends; return its exit status, or 128 plus the signal."""
    log_path, grace, limit, secrets, *command = sys.argv[1:]
    log = Log(log_path, int(limit), _values(secrets.split(",")))
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    stops = []
    signal.signal(signal.SIGTERM, lambda *_: stops.append("SIGTERM"))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for lmpipe to handle
    parent = os.getppid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(_SET_SUBREAPER, 1)  # orphans of the server become children of this process

    def in_child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)

    try:
        server = subprocess.Popen(  # noqa: S603 - the command is the caller's
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=in_child,  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        log.write(f"{command[0]}: {error.strerror or error}\n".encode())
        return 127
    assert server.stdout is not None
    output = server.stdout.fileno()
    try:
        os.write(1, b"%d\n" % server.pid)
    except OSError:
        stops.append("nobody reads")
    _watch(server, output, log, wake, stops, parent, float(grace))
    _kill_all(server)
    _drain(output, log)
    log.end()
    status = server.wait()
    return status if status >= 0 else 128 - status


def _values(names: list[str]) -> list[bytes]:
    """Return the values of variables, without those that are too short for a secret."""
    values = {name: os.environb.get(name.encode(), b"") for name in names}
    key = values.pop(_KEY, b"")
    return [value for value in values.values() if len(value) >= _SHORTEST] + [key] * bool(key)


def _watch(
    server: subprocess.Popen[bytes],
    output: int,
    log: Log,
    wake: int,
    stops: list[str],
    parent: int,
    grace: float,
) -> None:
    """Wait until the server has ended, or its grace period after SIGTERM is over."""
    watched, deadline = {0, wake, output}, None
    while server.poll() is None:
        if os.getppid() != parent:
            stops.append("the parent has ended")
        now = time.monotonic()
        if stops and deadline is None:
            server.terminate()
            deadline = now + grace
        if deadline is not None and now >= deadline:
            return
        rest = _PARENT_CHECK if deadline is None else min(_PARENT_CHECK, deadline - now)
        for ready in select.select(list(watched), [], [], rest)[0]:
            data = os.read(ready, 65536)
            if ready == output:
                log.write(data)
            elif ready == 0 and not data:
                stops.append("the pipe is closed")
            if not data:
                watched.discard(ready)


def _kill_all(server: subprocess.Popen[bytes]) -> None:
    """Kill the server's process group, then its orphans."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the group is empty
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    while children := _children():
        for child in children:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _children() -> list[int]:
    """Return the ids of this process's children, where /proc exists."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                after_name = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended in the meantime
        if int(after_name[1]) == os.getpid():
            found.append(int(name))
    return found


def _drain(output: int, log: Log) -> None:
    """Write the rest of the output."""
    deadline = time.monotonic() + _DRAIN_TIME
    while (rest := deadline - time.monotonic()) > 0:
        if not select.select([output], [], [], rest)[0]:
            return
        data = os.read(output, 65536)
        if not data:
            return
        log.write(data)


if __name__ == "__main__":
    sys.exit(main())
