"""A compile of a program with a pure tool that is killed, against a real HTTP server."""

from __future__ import annotations

import time
from pathlib import Path

from helpers.fake_server import FakeServer
from helpers.killing import PROGRAM, WINDOW, RecordingReply, finish, only_run, start

WITH_TOOL = f"""{PROGRAM}
import time
from helpers.world import NameColour


def weigh(thing: str) -> str:
    with open("uses.txt", "a") as file:
        file.write(f"{{time.monotonic()}} {{thing}}\\n")
    return f"{{thing}}, 3 kg"


class Weigh(lmpipe.Module):
    def __init__(self) -> None:
        self.tool = lmpipe.Tool.of(weigh, pure=True)
        self.name = lmpipe.Predict(NameColour)

    async def forward(self, thing: str) -> NameColour:
        weighed = await lmpipe.run_tool(self.tool, {{"thing": thing}})
        return await self.name.acall(thing=weighed.text)


recipe = recipe.replace(program=Weigh())
"""


def uses(folder: Path) -> list[tuple[float, str]]:
    lines = (folder / "uses.txt").read_text().splitlines()
    return [(float(when), thing) for when, _, thing in (line.partition(" ") for line in lines)]


def test_a_killed_compile_resumes_and_repeats_no_use_of_a_pure_tool(tmp_path: Path) -> None:
    replies = RecordingReply(alarm_at=120)
    options = ("--concurrency=8", "--runs=runs")
    with FakeServer(replies, latency=0.03) as server:
        killed = start(tmp_path, server.base_url, *options, program=WITH_TOOL)
        assert replies.alarm.wait(60)
        kept = time.monotonic() - WINDOW
        killed.kill()
        killed.communicate()
        before = uses(tmp_path)
    assert not (only_run(tmp_path / "runs") / "program.json").exists()

    with FakeServer(replies, port=server.port) as server:
        finish(tmp_path, server.base_url, *options, program=WITH_TOOL)
    after = {thing for _, thing in uses(tmp_path)[len(before) :]}

    safe = {thing for when, thing in before if when < kept}
    assert len(safe) >= 10  # otherwise the test shows nothing
    assert after
    assert not after & safe
