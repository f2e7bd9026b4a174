"""Compiles that are killed, or whose server dies, against a real HTTP server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from helpers.fake_server import FakeServer
from helpers.killing import PATH, WINDOW, RecordingReply, finish, only_run, start
from helpers.world import answer_body


@pytest.mark.parametrize(("concurrency", "latency"), [(1, 0.005), (8, 0.03), (64, 0.1)])
def test_a_killed_compile_resumes_and_pays_for_no_call_twice(
    tmp_path: Path, concurrency: int, latency: float
) -> None:
    options = (f"--concurrency={concurrency}", "--runs=runs")
    replies = RecordingReply(alarm_at=250)
    with FakeServer(replies, latency=latency) as server:
        killed = start(tmp_path, server.base_url, *options)
        assert replies.alarm.wait(60)
        kept = time.monotonic() - WINDOW - latency
        killed.kill()
        killed.communicate()
        assert not (only_run(tmp_path / "runs") / "program.json").exists()
        before = list(replies.requests)

    with FakeServer(replies, port=server.port) as server:
        finish(tmp_path, server.base_url, *options)
        repeated = {body for _, body in replies.requests[len(before) :]}

        finish(tmp_path, server.base_url, "--runs=whole", cache="another")

    resumed = only_run(tmp_path / "runs")
    undisturbed = only_run(tmp_path / "whole")
    assert (resumed / "program.json").read_bytes() == (undisturbed / "program.json").read_bytes()
    # Only calls that were in flight at the kill, or just answered, may be repeated.
    safe = [body for when, body in before if when < kept]
    assert len(safe) >= 50  # otherwise the test shows nothing
    assert not repeated & set(safe)
    manifest = orjson.loads((resumed / "manifest.json").read_bytes())
    events = map(orjson.loads, (resumed / "events.jsonl").read_bytes().splitlines())
    fresh = next(event["fresh"] for event in events if event["event"] == "spent")
    assert fresh["calls"] <= manifest["spend"]["total"]["calls"] - len(safe)


def test_a_dead_server_stops_the_compile_and_lowers_no_score(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PATH},
    )
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().decode().strip()}/v1"
    stopped = start(tmp_path, url, "--runs=stopped", "--attempts=2")
    assert server.stdout.readline() == b"alarm\n"
    server.kill()
    server.communicate()
    _, errors = stopped.communicate(timeout=120)

    text = errors.decode()
    assert stopped.returncode == 1, text
    assert sum(line.startswith("error:") for line in text.splitlines()) == 1, text
    assert "Traceback" not in text
    assert url in text
    assert "again" in text

    with FakeServer(answer_body) as healthy:
        finish(tmp_path, healthy.base_url, "--runs=whole", cache="another")
    folder = only_run(tmp_path / "stopped")
    scored = (folder / "candidates.jsonl").read_bytes()
    assert (only_run(tmp_path / "whole") / "candidates.jsonl").read_bytes().startswith(scored)
    assert orjson.loads((folder / "manifest.json").read_bytes())["status"] == "failed"


SERVER = """
import asyncio, sys
from helpers.fake_server import FakeApp, Serving
from helpers.world import answer_body

answered = 0

def reply(body):
    global answered
    answered += 1
    if answered == 150:
        print("alarm", flush=True)
    return answer_body(body)

async def main():
    serving = Serving(FakeApp(reply, latency=0.005).app)
    port = await serving.start()
    print(port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
