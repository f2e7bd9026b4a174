"""Stands between lmpipe and a server, so that the server ends when lmpipe does, however that ends.

Run as a script, with the standard library alone: `guard.py LOG GRACE LIMIT COMMAND…`. Its standard
input is a pipe that lmpipe holds: once that is closed, the server is asked to end, and after GRACE
seconds it is killed, with all that it started. What the server writes goes to LOG, of which about
the last LIMIT bytes are kept, without its key. Tells the server's process id on standard output
and exits with the server's status.
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
_LOOK_UP = 1.0  # seconds between looks for a parent that went without closing the pipe
_LAST_WORDS = 2.0  # seconds that output may still take once all is killed
_SECRET = "VLLM_API_KEY"  # noqa: S105 - a variable's name


class Log:
    """A log file that keeps its tail and no secret.

    Args:
        path: the file.
        limit: bytes above which its older half is dropped.
        secret: what is not to be written.
    """

    def __init__(self, path: str, limit: int, secret: bytes) -> None:
        try:
            self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 - until the process ends
        except OSError:  # a server without a log is better than none
            self._file = open(os.devnull, "w+b", buffering=0)  # noqa: SIM115
        self._limit, self._secret = limit, secret
        self._size = 0
        self._line = b""

    def write(self, data: bytes) -> None:
        """Write the whole lines; the rest waits for its end, as a secret may be cut in two."""
        data = self._line + data
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end and len(data) > self._limit:
            end = len(data)
        self._line = data[end:]
        self._put(data[:end])

    def end(self) -> None:
        """Write what waits."""
        self._put(self._line)
        self._line = b""

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if self._secret:
            data = data.replace(self._secret, b"***")
        try:
            if self._size > self._limit:
                self._file.seek(-(self._limit // 2), os.SEEK_END)
                data = self._file.read() + data
                self._file.seek(0)
                self._file.truncate()
                self._size = 0
            self._size += self._file.write(data)
        except OSError:  # a full disk: the server goes on without a log
            self._size = 0


def main() -> int:
    """Run the server until it ends or lmpipe does; its status, or 128 and the signal."""
    log_path, grace, limit, *command = sys.argv[1:]
    log = Log(log_path, int(limit), os.environ.get(_SECRET, "").encode())
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    stops = []
    signal.signal(signal.SIGTERM, lambda *_: stops.append("told to"))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for lmpipe to handle
    parent = os.getppid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(_SET_SUBREAPER, 1)  # what the server leaves behind becomes a child of this one

    def in_child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)

    try:
        server = subprocess.Popen(  # noqa: S603 - what lmpipe was told to run
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
        stops.append("nobody is there")
    _watch(server, log, wake, stops, parent, float(grace))
    _kill_all(server)
    _drain(output, log)
    log.end()
    status = server.wait()
    return status if status >= 0 else 128 - status


def _watch(
    server: subprocess.Popen[bytes],
    log: Log,
    wake: int,
    stops: list[str],
    parent: int,
    grace: float,
) -> None:
    """Wait until the server has ended, or has been asked to and did not."""
    assert server.stdout is not None
    output = server.stdout.fileno()
    watched, deadline = {0, wake, output}, None
    while server.poll() is None:
        if os.getppid() != parent:
            stops.append("the parent is gone")
        now = time.monotonic()
        if stops and deadline is None:
            server.terminate()
            deadline = now + grace
        if deadline is not None and now >= deadline:
            return
        rest = _LOOK_UP if deadline is None else min(_LOOK_UP, deadline - now)
        for ready in select.select(list(watched), [], [], rest)[0]:
            data = os.read(ready, 65536)
            if ready == output:
                log.write(data)
            elif ready == 0 and not data:
                stops.append("the pipe is closed")
            if not data:
                watched.discard(ready)


def _kill_all(server: subprocess.Popen[bytes]) -> None:
    """Kill the server's process group, then whatever else it has left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in it
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    while children := _children():
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


def _children() -> list[int]:
    """The processes whose parent this one is, where the system tells."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                after_name = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(after_name[1]) == os.getpid():
            found.append(int(name))
    return found


def _drain(output: int, log: Log) -> None:
    """Write the last words."""
    deadline = time.monotonic() + _LAST_WORDS
    while (rest := deadline - time.monotonic()) > 0:
        if not select.select([output], [], [], rest)[0]:
            return
        data = os.read(output, 65536)
        if not data:
            return
        log.write(data)


if __name__ == "__main__":
    sys.exit(main())
