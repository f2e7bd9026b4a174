"""`ContainerSandbox`: a whole Python with any packages, in a container.

With gVisor (https://gvisor.dev) as its runtime, the code talks to a kernel of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from lmpipe.errors import ConfigError
from lmpipe.foundation.checks import check_choice
from lmpipe.sandbox.host_functions import HostFunction
from lmpipe.sandbox.limits import SandboxLimits
from lmpipe.sandbox.process_session import ProcessSession
from lmpipe.sandbox.sandbox import Sandbox
from lmpipe.sandbox.session import Session

Engine = Literal["docker", "podman"]

_CHILD = Path(__file__).parent / "child.py"
_DEFAULT_IMAGE = "python:3.13-slim"


@dataclass(frozen=True, kw_only=True)
class ContainerSandbox(Sandbox):
    """Runs code in a container without network, files of the host and rights.

    The kernel of the host runs the code's system calls, unless `runtime` is `runsc` (gVisor), as
    it should be for code that nobody trusts. The engine and the image must be installed.

    Args:
        limits: what the code may use.
        image: a container image with `python`, 3.9 or later; its packages can be imported.
        engine: the command that runs containers.
        runtime: the runtime of the engine, such as `runsc`; if empty, its default.

    Raises:
        ConfigError: if the engine is unknown, or the image has no name.
    """

    image: str = _DEFAULT_IMAGE
    engine: Engine = "docker"
    runtime: str = ""

    rules: ClassVar[str] = (
        "The Python is complete, with its standard library and the packages of its image; there "
        "are no files that last, and no network."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("ContainerSandbox", "engine", self.engine, ("docker", "podman"))
        if not self.image or self.image.startswith("-"):
            raise ConfigError(f"ContainerSandbox(image={self.image!r}): give the name of an image")

    def session(self, functions: Mapping[str, HostFunction] | None = None) -> Session:
        return _ContainerSession(self.limits, functions or {}, self)

    def command(self, name: str) -> list[str]:
        """Return the command that starts a container with this name."""
        memory = f"{self.limits.memory_mb}m"
        return [
            *(self.engine, "run", "--rm", "--interactive", "--name", name),
            *(("--runtime", self.runtime) if self.runtime else ()),
            *("--pull", "never"),
            *("--network", "none"),
            "--read-only",
            *("--tmpfs", "/tmp:rw,noexec,nosuid,size=64m"),  # noqa: S108 - inside the container
            *("--memory", memory, "--memory-swap", memory),  # no swap beyond it
            *("--cpus", "1", "--pids-limit", "64"),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--user", "65534:65534"),
            *("--env", "PYTHONHASHSEED=0"),
            *("--entrypoint", "python", self.image),
            *("-s", "-u", "-c", child_source()),
        ]


def child_source() -> str:
    """Return the program that serves runs over its standard streams."""
    seed = "import random\nrandom.seed(0)\n"
    return f"{_CHILD.read_text(encoding='utf-8')}\n{seed}serve_pipes()\n"


class _ContainerSession(ProcessSession):
    sandbox = "ContainerSandbox"

    def __init__(
        self,
        limits: SandboxLimits,
        functions: Mapping[str, HostFunction],
        sandbox: ContainerSandbox,
    ) -> None:
        super().__init__(limits, functions)
        self._sandbox = sandbox
        self._name = ""

    async def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        engine = self._sandbox.engine
        if shutil.which(engine) is None:
            raise ConfigError(
                f"ContainerSandbox needs the command {engine!r}, which is not installed: install "
                "it, name another engine=…, or use lmpipe.MontySandbox()"
            )
        self._name = f"lmpipe-{uuid.uuid4().hex}"
        # The engine's own settings, such as the address of its server; the container sees none.
        return self._sandbox.command(self._name), os.environ

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        # The command only talks to the container, which goes on without it.
        killer = await asyncio.create_subprocess_exec(
            *(self._sandbox.engine, "kill", self._name),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await killer.wait()
        await super()._kill(process)

    def _is_out_of_memory(self, process: asyncio.subprocess.Process) -> bool:
        return process.returncode in (-9, 137)
