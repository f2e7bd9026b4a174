"""The processes of a benchmark: the stub server, and one per measurement and side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plan import SideName

HERE = Path(__file__).resolve().parent
DSPY_VERSION = "3.4.1"
_TIMEOUT = 900.0


@dataclass(frozen=True)
class Sides:
    """Starts the processes of each side.

    Args:
        pythons: the interpreter of each side.
        folder: a folder for caches and other files of the libraries.
        source: the folder that holds lmpipe's package.
    """

    pythons: Mapping[SideName, Path]
    folder: Path
    source: Path = HERE.parent / "compiler"

    def run(self, side: SideName, *arguments: object) -> dict[str, Any]:
        """Run one command of a side and return its output.

        Raises:
            SystemExit: if it fails; the message has the end of its output.
        """
        own = side in ("lmpipe", "dspy", "from_dspy")
        script = HERE / "sides" / f"{side if own else 'bare'}_side.py"
        return run_json([self.pythons[side], script, *arguments], self.environment(side))

    def environment(self, side: SideName) -> dict[str, str]:
        """Return the environment of a side's processes: lmpipe from `source`, no user's cache."""
        environment = dict(os.environ)
        environment.pop("PYTHONPATH", None)
        if side == "dspy":
            environment["DSPY_CACHEDIR"] = str(self.folder / "dspy-home")
            environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        else:
            environment["PYTHONPATH"] = str(self.source)
            environment["LMPIPE_HOME"] = str(self.folder / "lmpipe-home")
        return environment


def run_json(command: Sequence[object], environment: Mapping[str, str]) -> dict[str, Any]:
    """Run a process and parse its last line of output as a JSON object."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, env=dict(environment), timeout=_TIMEOUT
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@contextmanager
def stub_server(latency: float = 0.0) -> Iterator[str]:
    """Start a stub server in a separate process, and yield its URL up to `/v1`."""
    command = [sys.executable, str(HERE / "stub_server.py"), "--until-eof", f"--latency={latency}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise SystemExit("the stub server did not start")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if (status := process.poll()) is not None:
            print(f"the stub server died with exit status {status}", file=sys.stderr)
        process.stdin.close()
        process.wait(timeout=10)
        process.stdout.close()


def dspy_python(*extras: str) -> Path:
    """Return the Python of an environment with DSPy, which is created on first use (a minute).

    Args:
        extras: further requirements; each set has a separate environment.
    """
    user_cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    name = "-".join([f"dspy-{DSPY_VERSION}", *extras])
    folder = Path(user_cache).expanduser() / "lmpipe" / "benchmarks" / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists():
        needs = [f"dspy=={DSPY_VERSION}", *extras]
        print(f"installing {', '.join(needs)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *needs], check=True, stdout=sys.stderr
        )
        ready.touch()
    return python
