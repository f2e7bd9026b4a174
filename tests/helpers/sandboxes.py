"""The sandboxes that run on this machine, and one that is none, for the messages of a child."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lmpipe.sandbox.container import child_source
from lmpipe.sandbox.host_functions import HostFunction
from lmpipe.sandbox.limits import SandboxLimits
from lmpipe.sandbox.monty import MontySandbox
from lmpipe.sandbox.process_session import ProcessSession
from lmpipe.sandbox.pyodide import PyodideSandbox, pyodide_folder
from lmpipe.sandbox.sandbox import Sandbox
from lmpipe.sandbox.session import Session

# Read before a test gets a home of its own.
PYODIDE = Path(os.environ.get("LMPIPE_PYODIDE") or pyodide_folder())

needs_monty = pytest.mark.skipif(
    find_spec("pydantic_monty") is None, reason="needs pydantic-monty, of the group test"
)
needs_pyodide = pytest.mark.skipif(
    find_spec("deno") is None or not (PYODIDE / "pyodide.mjs").is_file(),
    reason="needs deno, of the group test, and Pyodide: `make pyodide`, or LMPIPE_PYODIDE",
)


@dataclass(frozen=True, kw_only=True)
class PlainPython(Sandbox):
    """Runs code in a child of this process: what a container does, without the container."""

    program: str = ""

    def session(self, functions: Mapping[str, HostFunction] | None = None) -> Session:
        return _PlainSession(self.limits, functions or {}, self.program or child_source())


class _PlainSession(ProcessSession):
    sandbox = "PlainPython"

    def __init__(
        self, limits: SandboxLimits, functions: Mapping[str, HostFunction], program: str
    ) -> None:
        super().__init__(limits, functions)
        self.program = program
        self.killed: list[asyncio.subprocess.Process] = []

    async def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        return [sys.executable, "-s", "-u", "-c", self.program], {"PYTHONHASHSEED": "0"}

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        self.killed.append(process)
        await super()._kill(process)


def monty(**limits: Any) -> Sandbox:
    return MontySandbox(limits=SandboxLimits(**limits))


def pyodide(**limits: Any) -> Sandbox:
    return PyodideSandbox(limits=SandboxLimits(**limits), pyodide=str(PYODIDE))


def plain_python(**limits: Any) -> Sandbox:
    return PlainPython(limits=SandboxLimits(**limits))


def every(*more: Any) -> Iterable[Any]:
    """All makers of sandboxes, as parameters of a test."""
    return [
        pytest.param(monty, id="monty", marks=needs_monty),
        # It takes seconds to start, which are too many for the other tests.
        pytest.param(pyodide, id="pyodide", marks=[needs_pyodide, pytest.mark.real]),
        *more,
    ]


with_child = pytest.param(plain_python, id="child")
