"""The embedded model's weights as a Hugging Face folder: a base model to train with no hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import orjson

from lmpipe.errors import TrainingError
from lmpipe.foundation.atomic_files import write_file
from lmpipe.foundation.canonical_json import pretty_json
from lmpipe.lm.embedded.default_weights import default_weights, file_sha256, weights_folder
from lmpipe.weights.environment import install_lines, training_environment
from lmpipe.weights.model_folder import model_hash

SCRIPT = Path(__file__).with_name("base_model_script.py")
NAME = "SmolLM2-135M-Instruct"
_SOURCE = "source.json"
_SECONDS = 900.0


def default_base_model() -> Path:
    """The folder with the weights of `LM("local")`, to train on; made once, in some 10 seconds.

    Several processes may call this at once: each sees a whole folder or none.

    Raises:
        ConfigError: if the embedded model's weights cannot be fetched.
        TrainingError: if there is no training environment, or no room.
    """
    source = default_weights()
    folder = weights_folder() / NAME
    if _is_made_from(folder, source):
        return folder
    python = _python()
    try:
        # Beside the target, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=".base-", dir=folder.parent) as scratch:
            made = Path(scratch) / NAME
            _convert(python, source, made)
            record = {"gguf": file_sha256(source), "model": model_hash(made)}
            write_file(made / _SOURCE, pretty_json(record))
            _put(made, folder, source)
    except OSError as error:
        raise TrainingError(
            f"the base model cannot be kept in {folder.parent} ({error}): free 600 MB there, or "
            "set LMPIPE_HOME to a folder that can be written to"
        ) from error
    return folder


def _is_made_from(folder: Path, source: Path) -> bool:
    try:
        record = orjson.loads((folder / _SOURCE).read_bytes())
        made_from, model = record["gguf"], record["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(made_from == file_sha256(source) and model == model_hash(folder))


def _python() -> Path:
    environment = training_environment()
    if "gguf" not in environment.versions:
        raise TrainingError(
            f"the training environment's {environment.python} lacks gguf, which reads the embedded "
            f"model: `{environment.python} -m pip install gguf`, or all of it anew: "
            f"`{install_lines()}`"
        )
    return environment.python


def _convert(python: Path, source: Path, target: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the training environment's Python, on our own script
            [str(python), str(SCRIPT), str(source), str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TrainingError(
            f"converting {source.name} took over {_SECONDS:g} seconds: try again on a calmer "
            "machine"
        ) from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        raise TrainingError(f"{source} could not be made into a Hugging Face folder: {last[0]}")


def _put(made: Path, folder: Path, source: Path) -> None:
    try:
        os.rename(made, folder)
    except OSError:
        if _is_made_from(folder, source):  # another process was faster
            return
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or made from older weights
        os.rename(made, folder)
