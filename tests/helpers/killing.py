"""Compiles in a process of their own, against a real HTTP server, for tests that kill them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from helpers.world import answer_body

TESTS = Path(__file__).parent.parent
PATH = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
PROGRAM = """
import os
import lmpipe
from helpers.world import recipe as make_recipe

recipe = make_recipe(student=lmpipe.LM("vllm/fake", base_url=os.environ["FAKE_URL"]))
"""

# What a kill can lose: a reply is on disk this long after the server sent it, in seconds. It
# takes some ten milliseconds, or more on a machine that is busy.
WINDOW = 0.25


class Counting:
    """Answers like the world's LM, notes who asked when, and says when so many have.

    Args:
        alarm_at: how many requests set the alarm off; 0 for none.
        reply: what is answered.
    """

    def __init__(
        self, alarm_at: int = 0, reply: Callable[[dict[str, Any]], str] = answer_body
    ) -> None:
        self._reply = reply
        self.asked: list[tuple[float, bytes]] = []
        self.alarm = threading.Event()
        self._alarm_at = alarm_at

    def __call__(self, body: dict[str, Any]) -> str:
        spelled = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        self.asked.append((time.monotonic(), spelled))
        if self._alarm_at and len(self.asked) >= self._alarm_at:
            self.alarm.set()
        return self._reply(body)


def start(
    folder: Path, url: str, *options: str, cache: str = "cache", program: str = PROGRAM
) -> subprocess.Popen[bytes]:
    """Start `lmpipe compile` on a program that asks the server at a URL, given as FAKE_URL."""
    (folder / "colours.py").write_text(program)
    environment = {
        **os.environ,
        "FAKE_URL": url,
        "LMPIPE_CACHE": str(folder / cache),
        "PYTHONPATH": PATH,
    }
    command = [sys.executable, "-m", "lmpipe", "compile", "colours.py", *options]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def only_run(runs: Path) -> Path:
    """The one run folder that there is."""
    (folder,) = (item for item in runs.iterdir() if item.is_dir())
    return folder
