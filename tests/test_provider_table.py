"""The table of `docs/providers.md`, which a command writes from the tests of the providers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_shows_what_is_tested() -> None:
    command = [sys.executable, str(ROOT / "tests" / "helpers" / "provider_table.py"), "--check"]
    checked = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
