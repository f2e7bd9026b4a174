"""Four processes write to one cache, and one of them is killed repeatedly."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from helpers.reply_cache import execute, stored_keys

from lmpipe.lm.cache.cache import Cache

TESTS = Path(__file__).parent.parent
WRITES = 5000

# Prints the number of the last reply that was flushed, or of each reply with the time of its put.
WRITER = """
import sys, time, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from helpers.reply_cache import REQUEST
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.request import Reply

warnings.simplefilter("error")
_, _, folder, name, first, last, flush_every = sys.argv
cache = Cache(Path(folder))
for number in range(int(first), int(last)):
    key = f"{name}-{number}"
    cache.put(key, REQUEST, Reply(f"reply to {key}"))
    if int(flush_every):
        if number % int(flush_every) == 0:
            cache.flush()
            print(number, flush=True)
    else:
        print(number, time.monotonic(), flush=True)
        time.sleep(0.001)
cache.close()
print(int(last) - 1, flush=True)
"""


def start(
    folder: Path, name: str, *, first: int = 0, last: int = WRITES, flush_every: int
) -> subprocess.Popen[str]:
    arguments = [str(TESTS), str(folder), name, str(first), str(last), str(flush_every)]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_after(writer: subprocess.Popen[str], number: int) -> int:
    """Kill a writer once it has printed a number, and return the last one printed."""
    assert writer.stdout is not None
    printed = [-1]
    for line in writer.stdout:
        printed.append(int(line))
        if printed[-1] >= number:
            writer.kill()
    writer.communicate()
    return printed[-1]


def test_flushed_replies_survive_kills_and_other_writers(tmp_path: Path) -> None:
    folder = tmp_path / "replies"
    writers = [start(folder, name, flush_every=100) for name in ("a", "b", "c")]
    flushed = -1
    for goal in (800, 1900, 2700, 3600):
        victim = start(folder, "killed", first=flushed + 1, flush_every=100)
        flushed = kill_after(victim, goal)
        assert goal <= flushed < WRITES - 1
        # Immediately after its death, before another process writes.
        survived = execute(folder, "SELECT key FROM Cache WHERE key GLOB 'killed-*'")
        assert {f"killed-{number}" for number in range(flushed + 1)} <= {key for (key,) in survived}
    writers.append(start(folder, "killed", first=flushed + 1, flush_every=100))
    ended = [(writer.communicate()[1], writer.returncode) for writer in writers]
    assert ended == [("", 0)] * 4

    cache = Cache(folder)
    for name in ("a", "b", "c", "killed"):
        for number in range(WRITES):
            reply = cache.get(f"{name}-{number}")
            assert reply is not None
            assert reply.text == f"reply to {name}-{number}"
    cache.close()
    assert len(stored_keys(folder)) == 4 * WRITES
    assert execute(folder, "PRAGMA integrity_check") == [("ok",)]


def test_a_kill_loses_less_than_the_last_second(tmp_path: Path) -> None:
    folder = tmp_path / "replies"
    writer = start(folder, "killed", last=10**6, flush_every=0)
    assert writer.stdout is not None
    put: dict[int, float] = {}
    killed = None
    for line in writer.stdout:
        number, when = line.split()
        put[int(number)] = float(when)
        if killed is None and float(when) > put[0] + 1.5:
            killed = time.monotonic()
            writer.kill()
    writer.communicate()
    assert killed is not None
    settled = {f"killed-{number}" for number, when in put.items() if when < killed - 1}
    assert settled
    assert settled <= {key for (key,) in execute(folder, "SELECT key FROM Cache")}
