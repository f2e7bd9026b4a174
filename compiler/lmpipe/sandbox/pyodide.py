"""`PyodideSandbox`: CPython as WebAssembly, in Deno, which gives it no permission.

See https://pyodide.org and https://deno.com.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from lmpipe.errors import ConfigError, SandboxError
from lmpipe.foundation.atomic_files import home_folder
from lmpipe.lm.concurrency import loop
from lmpipe.sandbox.host_functions import HostFunction
from lmpipe.sandbox.limits import SandboxLimits
from lmpipe.sandbox.process_session import ProcessSession
from lmpipe.sandbox.sandbox import Sandbox
from lmpipe.sandbox.session import Session

VERSION = "314.0.7"

_HERE = Path(__file__).parent
_PAGE_BYTES = 2**16  # of WebAssembly's memory
# What Deno itself needs beside the memory of the code.
_DENO_BYTES = 1024 * 2**20


@dataclass(frozen=True, kw_only=True)
class PyodideSandbox(Sandbox):
    """Runs code in Pyodide: the whole language and its standard library; it starts in seconds.

    It needs `lmpipe[pyodide]`, and Pyodide, which is downloaded from npm on first use (13 MB) if
    no folder is given.

    Args:
        limits: what the code may use.
        now: the date and time that the code sees; if None, the real ones, and code that asks for
            them gives other results in a replay.
        pyodide: the folder of the npm package `pyodide`.
    """

    now: datetime | None = None
    pyodide: str | None = None

    rules: ClassVar[str] = (
        "The Python is complete, with its standard library; there are no other packages, no files, "
        "no network, no subprocesses and no threads."
    )

    def session(self, functions: Mapping[str, HostFunction] | None = None) -> Session:
        return _PyodideSession(self.limits, functions or {}, self)

    def download(self) -> Path:
        """Download Pyodide if it is not there; return its folder.

        Raises:
            ConfigError: if Deno is not installed.
            SandboxError: if the download fails.
        """
        return loop.run_sync(_folder(self.pyodide))


class _PyodideSession(ProcessSession):
    sandbox = "PyodideSandbox"

    def __init__(
        self,
        limits: SandboxLimits,
        functions: Mapping[str, HostFunction],
        sandbox: PyodideSandbox,
    ) -> None:
        super().__init__(limits, functions)
        self._sandbox = sandbox

    async def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        folder = await _folder(self._sandbox.pyodide)
        runner, child = _HERE / "pyodide_runner.mjs", _HERE / "child.py"
        now = self._sandbox.now
        pages = self.limits.memory_bytes // _PAGE_BYTES
        command = [
            deno_program(),
            "run",
            "--no-prompt",
            "--no-config",
            "--no-lock",
            "--no-remote",
            "--no-npm",
            f"--allow-read={runner},{child},{folder}",
            f"--v8-flags=--wasm-max-mem-pages={pages}",
            str(runner),
            str(folder),
            str(child),
            *([] if now is None else [str(int(now.timestamp() * 1000))]),
        ]
        return command, _deno_environment()

    def _started(self, process: asyncio.subprocess.Process) -> None:
        # The flag limits the memory of Python, and this what JavaScript takes beside it.
        _limit(process.pid, "RLIMIT_DATA", self.limits.memory_bytes + _DENO_BYTES)

    def _starts_run(self, process: asyncio.subprocess.Process, run: int) -> None:
        # Ends a child whose parent was killed in the middle of a run. Several threads collect
        # garbage while the code runs.
        _limit(process.pid, "RLIMIT_CPU", 120 + int(run * (self.limits.seconds + 1) * 4))


def _limit(pid: int, resource_name: str, amount: int) -> None:
    """Limit a resource of a process, where the system can do so from outside: on Linux."""
    if sys.platform == "linux":
        import resource

        kind = getattr(resource, resource_name)
        with contextlib.suppress(ProcessLookupError):  # it has ended, which the session will see
            hard = resource.prlimit(pid, kind)[1]
            most = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
            resource.prlimit(pid, kind, (most, hard))


def deno_program() -> str:
    """Find Deno: of the Python package `deno`, or on the path.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        from deno import find_deno_bin

        return str(find_deno_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("deno")
    if found is None:
        raise ConfigError("PyodideSandbox needs Deno 2: pip install 'lmpipe[pyodide]'")
    return found


def pyodide_folder() -> Path:
    """Return where a downloaded Pyodide is, or would be."""
    packages = _deno_home() / "npm"
    # In between is a folder for the address of the registry, which may be a mirror.
    found = sorted(packages.glob(f"**/pyodide/{VERSION}"))
    return found[0] if found else packages / "pyodide" / VERSION


def _deno_home() -> Path:
    return home_folder() / "deno"


def _deno_environment() -> dict[str, str]:
    return {
        "DENO_DIR": str(_deno_home()),
        "DENO_NO_PACKAGE_JSON": "1",
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
    }


def _resolved(given: str | None) -> Path:
    # Deno compares paths without links.
    return (Path(given).expanduser() if given else pyodide_folder()).resolve()


def _is_there(folder: Path) -> bool:
    return (folder / "pyodide.mjs").is_file()


async def _folder(given: str | None) -> Path:
    """Return the folder of Pyodide, which is downloaded if it is not there."""
    folder = _resolved(given)
    if _is_there(folder):
        return folder
    if given:
        raise ConfigError(
            f"PyodideSandbox(pyodide={given!r}): there is no pyodide.mjs in this folder: give that "
            "of the npm package `pyodide`, or nothing to download it"
        )
    process = await asyncio.create_subprocess_exec(
        *(deno_program(), "cache", "--no-config", "--no-lock", f"npm:pyodide@{VERSION}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **_deno_environment()},
    )
    said = (await process.communicate())[1].decode(errors="replace").strip()
    folder = _resolved(None)
    if process.returncode != 0 or not _is_there(folder):
        raise SandboxError(
            f"Pyodide {VERSION} cannot be downloaded from npm: {said[-500:]}\n  download the npm "
            "package on another machine, and give its folder as PyodideSandbox(pyodide=…)"
        )
    return folder
