"""The benchmark of servers runs, and loses no request; its figures are not checked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_answer_is_lost_or_wrong_while_runs_are_swapped(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "serve.py"), "--json", str(file)]
    command += ["--requests", "200", "--in-flight", "16", "--rounds", "1", "--bare", "starlette"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert file.exists(), done.stderr
    (ours,) = json.loads(file.read_text())["rounds"]["lmpipe"]
    assert (ours["failed"], ours["late"], sum(ours["runs"].values())) == (0, 0, 200)
    assert len(ours["runs"]) == 2
