"""Find the Python environment that trains; it may be another one than the caller's."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lmpipe.errors import TrainingError
from lmpipe.foundation.python_environments import (
    VERSIONS_SCRIPT,
    environment_folder,
    environment_python,
)

VARIABLE = "LMPIPE_TRAIN_PYTHON"
REQUIREMENTS = ("torch>=2.9", "transformers>=5.16", "trl>=1.16,<2", "peft>=0.21", "gguf>=0.19")
_NEEDED = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors")
_TIMEOUT = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class TrainingEnvironment:
    """The executable of a Python that can train, and the versions of its training packages."""

    python: Path
    versions: dict[str, str]


def install_lines() -> str:
    """Return the commands that create a training environment where lmpipe looks for it."""
    folder = environment_folder("train")
    packages = " ".join(f"'{requirement}'" for requirement in REQUIREMENTS)
    return f"python3 -m venv {folder} && {folder}/bin/pip install {packages}"


def training_environment() -> TrainingEnvironment:
    """Find the Python that trains: $LMPIPE_TRAIN_PYTHON, lmpipe's environment, or this Python.

    If there is none, or it lacks packages, the TrainingError says how to create one.
    """
    if named := os.environ.get(VARIABLE):
        python, source = Path(named).expanduser(), f"${VARIABLE}"
        if not python.is_file():
            raise _missing(f"${VARIABLE} is {named!r}, and no such file exists")
    elif (python := environment_python("train")).is_file():
        source = "lmpipe's environment"
    elif importlib.util.find_spec("trl") and importlib.util.find_spec("peft"):
        python, source = Path(sys.executable), "this Python"
    else:
        raise _missing(
            f"${VARIABLE} is not set, {python} does not exist, and this Python has no trl and peft"
        )
    versions = _read_versions(python, source)
    if missing := [name for name in _NEEDED if name not in versions]:
        raise _missing(f"the Python {python} ({source}) lacks {', '.join(missing)}")
    return TrainingEnvironment(python, versions)


def _read_versions(python: Path, source: str) -> dict[str, str]:
    try:
        done = subprocess.run(  # noqa: S603 - the user's Python runs a fixed script
            [str(python), "-c", VERSIONS_SCRIPT, *_NEEDED, "gguf"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=True,
        )
        found: dict[str, str] = json.loads(done.stdout)["packages"]
        return found
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        raise _missing(f"{python} ({source}) does not run as a Python: {error}") from error


def _missing(why: str) -> TrainingError:
    return TrainingError(
        f"no environment to train in was found: {why}. Make one with `{install_lines()}`, or set "
        f"{VARIABLE} to the Python of an environment that has trl and peft"
    )
