"""The default weights as a Hugging Face folder, to train on without access to a hub."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lmpipe.errors import TrainingError
from lmpipe.foundation.atomic_files import make_readable, write_file
from lmpipe.foundation.canonical_json import pretty_json
from lmpipe.lm.embedded.default_weights import default_weights, weights_folder, weights_sha256
from lmpipe.weights.environment import install_lines, training_environment
from lmpipe.weights.job_folder import read_object
from lmpipe.weights.model_folder import model_hash

SCRIPT = Path(__file__).with_name("base_model_script.py")
NAME = "SmolLM2-135M-Instruct"
_SOURCE = "source.json"
_TIMEOUT = 900.0  # seconds


def default_base_model() -> Path:
    """Return the Hugging Face folder of the weights of `LM("local")`.

    The first call makes it, in about 20 seconds. Several processes may call this at once: each
    gets a complete folder.

    Raises:
        ConfigError: if the default weights cannot be fetched.
        TrainingError: if there is no training environment, the conversion fails, or the folder
            cannot be written.
    """
    source = default_weights()
    folder = weights_folder() / NAME
    if _is_made_from(folder, source):
        return folder
    environment = training_environment()
    if "gguf" not in environment.versions:
        raise TrainingError(
            f"the training environment's {environment.python} lacks the package gguf, which reads "
            f"the default weights: run `{environment.python} -m pip install gguf`, or make a new "
            f"environment: `{install_lines()}`"
        )
    try:
        # In the same file system as the target, so that the last step is a rename.
        with tempfile.TemporaryDirectory(prefix=".base-", dir=folder.parent) as scratch:
            made = Path(scratch) / NAME
            _convert(environment.python, source, made)
            write_file(made / _SOURCE, pretty_json(_source_record(made, source)))
            _move_into_place(made, folder, source)
    except OSError as error:
        raise TrainingError(
            f"the base model cannot be stored in {folder.parent} ({error}): free 600 MB there, or "
            "set LMPIPE_HOME to a writable folder"
        ) from error
    return folder


def _is_made_from(folder: Path, source: Path) -> bool:
    """Whether a folder is complete, undamaged and converted from this GGUF file."""
    made_from = read_object(folder / _SOURCE)
    return bool(made_from) and made_from == _source_record(folder, source)


def _source_record(folder: Path, source: Path) -> dict[str, str]:
    return {"gguf": weights_sha256(source), "model": model_hash(folder)}


def _convert(python: Path, source: Path, target: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the training environment's Python, on our own script
            [str(python), str(SCRIPT), str(source), str(target)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise TrainingError(
            f"converting {source.name} took over {_TIMEOUT:g} seconds: try again when the machine "
            "is less busy"
        ) from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise TrainingError(f"{source} cannot be converted to a Hugging Face folder: {last[0]}")
    for file in list(target.iterdir()):
        make_readable(file)  # safetensors makes its files private


def _move_into_place(made: Path, folder: Path, source: Path) -> None:
    try:
        os.rename(made, folder)
    except OSError:
        if _is_made_from(folder, source):  # another process was faster
            return
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or made from older weights
        os.rename(made, folder)
