"""The Python that trains: an environment of its own, which the caller's need not be."""

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
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class TrainingEnvironment:
    """A Python that can train.

    Args:
        python: its executable.
        versions: the versions of the packages that train.
    """

    python: Path
    versions: dict[str, str]


def install_lines() -> str:
    """The commands that make a training environment where lmpipe finds it."""
    folder = environment_folder("train")
    packages = " ".join(f"'{requirement}'" for requirement in REQUIREMENTS)
    return f"python3 -m venv {folder} && {folder}/bin/pip install {packages}"


def training_environment() -> TrainingEnvironment:
    """Find the Python that trains.

    It is `$LMPIPE_TRAIN_PYTHON`, else the one that lmpipe keeps, else this very Python.

    Raises:
        TrainingError: if there is none, or it lacks packages; the message says how to make one.
    """
    if named := os.environ.get(VARIABLE):
        python, whose = Path(named).expanduser(), f"${VARIABLE}"
        if not python.is_file():
            raise _missing(f"${VARIABLE} is {named!r}, and there is no such file")
    elif (python := environment_python("train")).is_file():
        whose = "lmpipe's own"
    elif importlib.util.find_spec("trl") and importlib.util.find_spec("peft"):
        python, whose = Path(sys.executable), "this one"
    else:
        raise _missing(
            f"${VARIABLE} is not set, there is no {python}, and this Python has no trl and peft"
        )
    versions = _versions(python, whose)
    if missing := [name for name in _NEEDED if name not in versions]:
        raise _missing(f"the Python {python} ({whose}) lacks {', '.join(missing)}")
    return TrainingEnvironment(python, versions)


def _versions(python: Path, whose: str) -> dict[str, str]:
    try:
        done = subprocess.run(  # noqa: S603 - the user's own Python, with a fixed script
            [str(python), "-c", VERSIONS_SCRIPT, *_NEEDED, "gguf"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        found: dict[str, str] = json.loads(done.stdout)["packages"]
        return found
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
        raise _missing(f"{python} ({whose}) does not run as a Python: {error}") from error


def _missing(why: str) -> TrainingError:
    return TrainingError(
        f"there is no environment to train in: {why}. Make one with `{install_lines()}`, or point "
        f"{VARIABLE} to the python of one that has trl and peft"
    )
