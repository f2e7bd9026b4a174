"""A server and all its children end with their owner, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fake_vllm import fake_command
from helpers.family import Family

from lmpipe.errors import ConfigError
from lmpipe.serving import ServerSpec, start_server
from lmpipe.serving.process import GuardedProcess, log_file

TESTS = Path(__file__).parent.parent
OWNER = """
import asyncio, os, signal, sys
from helpers.fake_vllm import fake_command
from lmpipe.serving import ServerSpec, start_server

async def main(folder):
    spec = ServerSpec(model="tiny", command=fake_command(), env={"FAKE_CHILDREN": folder})
    server = await start_server(spec)
    print("up", flush=True)
    sys.stdin.readline()
    END

asyncio.run(main(sys.argv[1]))
"""

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="processes are watched by Linux's pidfd"
)


def end_owner(family: Family, end: str) -> tuple[list[int], subprocess.Popen[bytes]]:
    """Start a process that starts a server, and let it end."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.replace("END", end), str(family.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    assert owner.stdout.readline() == b"up\n"
    watched = family.watch()
    owner.stdin.write(b"go on\n")
    owner.stdin.close()
    return watched, owner


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("await server.stop()", 0),
        ("return", 0),
        ("raise RuntimeError", 1),
        ("sys.exit(5)", 5),
        ("os._exit(6)", 6),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15),
        ("signal.raise_signal(signal.SIGINT)", -2),
    ],
)
def test_nothing_outlives_its_owner(family: Family, end: str, status: int) -> None:
    watched, owner = end_owner(family, end)
    assert family.gone(watched)
    assert owner.wait(30) == status
    assert owner.stdout is not None
    assert owner.stderr is not None
    owner.stdout.close()
    owner.stderr.close()


def test_a_surviving_forked_child_does_not_keep_the_server_up(family: Family) -> None:
    end = "os.fork() or [print(os.getpid(), flush=True), signal.pause()]; os._exit(0)"
    watched, owner = end_owner(family, end)
    assert family.gone(watched)
    assert owner.wait(30) == 0
    assert owner.stdout is not None
    assert owner.stderr is not None
    os.kill(int(owner.stdout.readline()), signal.SIGKILL)  # it is still running
    owner.stdout.close()
    owner.stderr.close()


async def test_stopping_a_server_ends_its_children(family: Family) -> None:
    spec = ServerSpec(model="tiny", command=fake_command(), env=family.env)
    async with await start_server(spec):
        watched = family.watch()
    assert family.gone(watched)


async def test_a_cancelled_start_leaves_no_process(family: Family) -> None:
    spec = ServerSpec(model="tiny", command=fake_command(), env={**family.env, "FAKE_NEVER": "1"})
    started = asyncio.Event()
    starting = asyncio.create_task(start_server(spec, on_progress=lambda _: started.set()))
    await started.wait()
    while not (family.folder / "server").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    watched = family.watch()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert family.gone(watched)


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(600)"
    )
    process = GuardedProcess(
        [sys.executable, "-c", code], environment=os.environ, log=tmp_path / "log", grace=0.2
    )
    while process.new_lines() != ["deaf"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await process.stop()
    assert process.exit_status == -9


async def test_a_killed_guard_ends_the_server(family: Family) -> None:
    spec = ServerSpec(model="tiny", command=fake_command(), env=family.env)
    async with await start_server(spec) as server:
        assert server.pid is not None
        apart = int((family.folder / "child-1").read_text())
        *watched, far = sorted_watch(family)
        os.kill(parent_of(server.pid), signal.SIGKILL)  # the guard
        while server.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert family.gone(watched)
        # Only a living guard can find a process in a separate session.
        os.kill(apart, signal.SIGKILL)
        assert family.gone([far])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def sorted_watch(family: Family) -> list[int]:
    child, apart, server = family.watch()
    return [child, server, apart]


async def test_the_log_keeps_its_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmpipe.serving.process._LOG_LIMIT", 10_000)
    code = "for n in range(5000): print('line', n, flush=n % 100 == 0)"
    process = GuardedProcess(
        [sys.executable, "-c", code], environment=os.environ, log=tmp_path / "log"
    )
    while process.running:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert process.exit_status == 0
    lines = process.last_lines()
    assert lines[-1] == "line 4999"
    assert (tmp_path / "log").stat().st_size < 100_000
    await process.stop()


async def test_a_secret_is_removed_from_the_log_even_across_writes(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "for part in (b'key sesa', b'me-open', b' and more\\rsesame-open'):\n"
        "    os.write(1, part); time.sleep(0.05)\n"
    )
    process = GuardedProcess(
        [sys.executable, "-c", code],
        environment={**os.environ, "VLLM_API_KEY": "sesame-open"},
        log=tmp_path / "log",
    )
    while process.running:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await process.stop()
    assert (tmp_path / "log").read_bytes() == b"key *** and more\r***"


async def test_only_this_user_can_read_the_log_and_it_keeps_no_secret_of_the_environment(
    tmp_path: Path,
) -> None:
    secrets = {"HF_TOKEN": "hf_sesame-open", "VLLM_API_KEY": "key", "OTHER_API_KEY": "abracadabra"}
    code = "import os; print(*map(os.environ.get, 'HF_TOKEN VLLM_API_KEY OTHER_API_KEY A'.split()))"
    process = GuardedProcess(
        [sys.executable, "-c", code],
        environment={**os.environ, **secrets, "A": "1", "SOME_TOKEN": "1"},
        log=tmp_path / "log",
    )
    while process.running:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await process.stop()
    assert (tmp_path / "log").read_text() == "*** *** *** 1\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


async def test_a_log_that_cannot_be_written_does_not_stop_the_process(tmp_path: Path) -> None:
    process = GuardedProcess(
        [sys.executable, "-c", "raise SystemExit(7)"],
        environment=os.environ,
        log=tmp_path / "no" / "log",
    )
    while process.running:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert (process.exit_status, process.last_lines(), process.new_lines()) == (7, [], [])
    await process.stop()


def test_a_home_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LMPIPE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="set LMPIPE_HOME"):
        log_file("tiny")


def test_old_logs_are_deleted() -> None:
    for number in range(25):
        log_file(f"org/model {number}").write_text("x")
    left = sorted(log_file("last").parent.iterdir())
    assert len(left) == 19
    assert not any("/" in path.name or " " in path.name for path in left)
