"""Start compiles in separate processes, against a real HTTP server, for tests that kill them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from helpers.fake_server import FakeServer
from helpers.warm_process import PATH, WarmProcess
from helpers.world import answer_body
from typer.testing import CliRunner

from lmpipe.cli import app

PROGRAM = """
import os
import lmpipe
from helpers.world import recipe as make_recipe

recipe = make_recipe(student=lmpipe.LM("vllm/fake", base_url=os.environ["FAKE_URL"]))
"""

# A kill can lose the replies of this many seconds: it takes about 10 milliseconds until a reply
# is on disk, and longer on a busy machine.
WINDOW = 0.25
# Of the server of `kill_and_resume`, in seconds.
LATENCY = 0.05


class RecordingReply:
    """Replies like the world's LM, records the requests with their times, and sets an alarm.

    Args:
        alarm_at: the number of requests that sets the alarm; 0 never does.
        reply: makes the reply from the request's body.
    """

    def __init__(
        self, alarm_at: int = 0, reply: Callable[[dict[str, Any]], str] = answer_body
    ) -> None:
        self._reply = reply
        self.requests: list[tuple[float, bytes]] = []
        self.alarm = threading.Event()
        self._alarm_at = alarm_at

    def __call__(self, body: dict[str, Any]) -> str:
        spelled = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        self.requests.append((time.monotonic(), spelled))
        if self._alarm_at and len(self.requests) >= self._alarm_at:
            self.alarm.set()
        return self._reply(body)


def start(
    folder: Path, url: str, *options: str, cache: str = "cache", program: str = PROGRAM
) -> subprocess.Popen[bytes]:
    """Start `lmpipe compile` on a program that calls the server at a URL.

    Args:
        folder: the working folder.
        url: the server's URL; the program reads it from `FAKE_URL`.
        options: further command-line options.
        cache: the name of the cache's folder.
        program: the source of the program.
    """
    (folder / "colours.py").write_text(program)
    command = [sys.executable, "-m", "lmpipe", "compile", "colours.py", *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder, url, cache=cache),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def environment(folder: Path, url: str, *, cache: str = "cache") -> dict[str, str]:
    """The environment of a process that compiles in a folder; see `start`."""
    own = {"FAKE_URL": url, "LMPIPE_CACHE": str(folder / cache), "PYTHONPATH": PATH}
    return {**os.environ, **own}


def finish(
    folder: Path, url: str, *options: str, cache: str = "cache", program: str = PROGRAM
) -> None:
    """Run `lmpipe compile` like `start`, but in this process and to its end.

    Most of the time of a separate process is that of its start.
    """
    (folder / "colours.py").write_text(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FAKE_URL", url)
        patch.setenv("LMPIPE_CACHE", str(folder / cache))
        done = CliRunner().invoke(app, ["compile", "colours.py", *options])
    assert done.exit_code == 0, done.output


def only_run(runs: Path) -> Path:
    """Return the only run folder."""
    (folder,) = (item for item in runs.iterdir() if item.is_dir())
    return folder


@dataclass(frozen=True)
class Resumed:
    """A compile that was killed and resumed, and the same one undisturbed.

    Attributes:
        resumed: the run folder of the first.
        undisturbed: that of the second.
        safe: the bodies of the requests whose replies were on disk at the kill.
        repeated: the bodies of those that the resumed compile sent.
    """

    resumed: Path
    undisturbed: Path
    safe: set[bytes]
    repeated: set[bytes]


def kill_and_resume(folder: Path, program: str, reply: Callable[[dict[str, Any]], str]) -> Resumed:
    """Kill a compile after 80 requests, resume it, and compile once more without a kill."""
    replies = RecordingReply(alarm_at=80, reply=reply)
    with FakeServer(replies, latency=LATENCY) as server:
        (folder / "colours.py").write_text(program)
        command = ["compile", "colours.py", "--runs=runs", "--concurrency=8"]
        killed = WarmProcess(folder, command, environment(folder, server.base_url))
        assert replies.alarm.wait(60)
        kept = time.monotonic() - WINDOW - LATENCY
        killed.kill()
        before = list(replies.requests)
        assert not (only_run(folder / "runs") / "program.json").exists()

    with FakeServer(replies, port=server.port) as server:
        finish(folder, server.base_url, "--runs=runs", program=program)
        repeated = {body for _, body in replies.requests[len(before) :]}
        finish(folder, server.base_url, "--runs=whole", cache="another", program=program)

    safe = {body for when, body in before if when < kept}
    assert safe  # otherwise a test shows nothing
    return Resumed(only_run(folder / "runs"), only_run(folder / "whole"), safe, repeated)
