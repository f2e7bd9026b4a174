"""SIGTERM ends a command as Ctrl-C does: it saves, says how to go on, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from helpers.fake_server import FakeServer
from helpers.killing import PATH, RecordingReply, only_run, start
from helpers.small_compile import CONCURRENCY, compile_in

MOMENTS = 10


def terminating(at: int) -> Callable[[int], None]:
    """Send SIGTERM to this process with one of the requests."""

    def on_request(number: int) -> None:
        if number == at:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_request


def test_a_compile_in_python_that_is_terminated_at_any_moment_saves_and_resumes(
    tmp_path: Path,
) -> None:
    whole: list[str] = []
    compile_in(tmp_path / "whole", whole)
    expected = only_run(tmp_path / "whole" / "runs")
    statuses: list[str] = []

    for moment in range(MOMENTS):
        folder = tmp_path / f"moment {moment}"
        before: list[str] = []
        at = 1 + moment * len(whole) // MOMENTS
        with pytest.raises(SystemExit) as ended:
            compile_in(folder, before, on_request=terminating(at))
        assert ended.value.code == 143
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        run = only_run(folder / "runs")
        manifest = orjson.loads((run / "manifest.json").read_bytes())
        statuses.append(manifest["status"])
        if statuses[-1] == "done":  # it ended before the signal arrived
            continue
        scored = (run / "candidates.jsonl").exists()
        assert (run / "program.json").exists() == scored
        if scored:
            known = (run / "candidates.jsonl").read_bytes()
            assert (expected / "candidates.jsonl").read_bytes().startswith(known)

        after: list[str] = []
        compile_in(folder, after)
        # Only the calls in flight may be made again.
        repeated = Counter(before) & Counter(after)
        assert repeated.total() <= CONCURRENCY
        assert set(before + after) == set(whole)
        assert only_run(folder / "runs") == run
        assert (run / "program.json").read_bytes() == (expected / "program.json").read_bytes()
    assert set(statuses) <= {"interrupted", "done"}
    assert statuses.count("interrupted") >= MOMENTS // 2


def test_a_handler_of_the_program_for_sigterm_stays(tmp_path: Path) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        compile_in(tmp_path, [], on_request=terminating(10))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    manifest = orjson.loads((only_run(tmp_path / "runs") / "manifest.json").read_bytes())
    assert manifest["status"] == "done"


def test_a_terminated_command_says_how_to_resume_and_the_next_one_repeats_nothing(
    tmp_path: Path,
) -> None:
    replies = RecordingReply(alarm_at=150)
    with FakeServer(replies, latency=0.005) as server:
        terminated = start(tmp_path, server.base_url, "--runs=runs")
        assert replies.alarm.wait(60)
        terminated.terminate()
        _, errors = terminated.communicate(timeout=60)
        text = errors.decode()
        assert terminated.returncode == 143, text
        said, best, remedy = text.splitlines()[-3:]
        assert said == "terminated"
        assert "has the best candidate so far" in best
        assert remedy == "  run the same command again: it resumes and repeats no paid call"
        assert "Traceback" not in text
        run = only_run(tmp_path / "runs")
        assert orjson.loads((run / "manifest.json").read_bytes())["status"] == "interrupted"
        answered = server.stats()["ok"]

        resumed = start(tmp_path, server.base_url, "--runs=runs")
        _, errors = resumed.communicate(timeout=120)
        assert resumed.returncode == 0, errors.decode()
        stats = server.stats()
    assert only_run(tmp_path / "runs") == run
    # Only replies that were on their way at the end may come a second time.
    assert answered >= 100
    assert stats["requests"] - stats["distinct"] <= 64


@pytest.mark.parametrize("arguments", [("eval", "colours.py"), ("run", "colours.py")])
def test_other_commands_end_with_the_same_status(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    inputs = ("--input", "thing=apple number 1") if arguments[0] == "run" else ()
    (tmp_path / "colours.py").write_text(
        "import os, lmpipe\nfrom helpers.world import recipe as make\n"
        'recipe = make(student=lmpipe.LM("vllm/fake", base_url=os.environ["FAKE_URL"]))\n'
    )
    replies = RecordingReply(alarm_at=1)
    with FakeServer(replies) as server:
        server.fail(1000, "stall")
        command = subprocess.Popen(
            [sys.executable, "-m", "lmpipe", *arguments, *inputs, "--attempts=1"],
            cwd=tmp_path,
            env={
                **os.environ,
                "FAKE_URL": server.base_url,
                "LMPIPE_CACHE": str(tmp_path / "cache"),
                "PYTHONPATH": PATH,
            },
            stderr=subprocess.PIPE,
        )
        while not server.in_flight:
            assert command.poll() is None
        command.terminate()
        _, errors = command.communicate(timeout=60)
    assert command.returncode == 143, errors.decode()
    assert errors.decode().splitlines()[-1] == "terminated"
