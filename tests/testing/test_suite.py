"""`suite/`: tests as a user would write them, recorded with the embedded LM.

`make record` records it again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SUITE = Path(__file__).parent / "suite"

Replay = Callable[[], subprocess.CompletedProcess[str]]

# Blocks what the plugin's own block might miss.
OFFLINE = """
import socket, sys
import pytest

def block(*arguments, **options):
    raise AssertionError("something tried to use the network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = block
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(SUITE, tmp_path / "suite", ignore=ignored))


@pytest.fixture
def replay(suite: Path, plugin_options: list[str]) -> Replay:
    def run() -> subprocess.CompletedProcess[str]:
        quiet = ["-p", "no:cacheprovider", "-p", "no:xdist"]
        command = [sys.executable, "-c", OFFLINE, *plugin_options, *quiet]
        environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
        return subprocess.run(
            command,
            cwd=suite,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_the_suite_passes_offline(suite: Path, replay: Replay) -> None:
    done = replay()
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_a_changed_word_of_the_prompt_fails_with_the_nearest_recording(
    suite: Path, replay: Replay
) -> None:
    program = suite / "support.py"
    source = program.read_text()
    program.write_text(source.replace("ticket to the team", "ticket to the group"))
    done = replay()
    assert done.returncode == 1
    assert "3 failed, 3 passed" in done.stdout
    assert "nearest of 2 recordings, 98 % alike" in done.stdout
    assert "Route a support ticket to the [-team-] {+group+} that should answer it." in done.stdout
