"""Run `lmpipe` in processes that are forked from one that has imported it already.

Such a process is a whole one: it can be killed, and has a standard output and input of its own.
But it starts in some hundredths of a second, where a new Python would import lmpipe first.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent.parent
PATH = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])

# What a compile imports, as far as it takes time.
_PRELOADED = (
    *("lmpipe.cli", "lmpipe.cli.overrides", "lmpipe.cli.targets", "lmpipe.compiling.compile"),
    *("lmpipe.lm.cache.cache", "lmpipe.lm.cassettes.cassette"),
    *("lmpipe.lm.providers.openai_compatible", "lmpipe.report.page", "lmpipe.report.terminal"),
    *("helpers.optimizers", "helpers.proposing_lm", "helpers.world"),
    *("diskcache", "jinja2", "numpy"),
)


class Ended(NamedTuple):
    """How a process ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


class WarmProcess:
    """`lmpipe` with some arguments, in a process of its own.

    Args:
        folder: the working folder.
        arguments: of the command line.
        environment: all environment variables of the process.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._outputs = [folder.parent / f"{folder.name}.{name}" for name in ("stdout", "stderr")]
        self._process = _server().Process(
            target=_run, args=(folder, list(arguments), dict(environment), self._outputs)
        )
        self._process.start()

    def kill(self) -> None:
        """Kill it, and wait until it has ended."""
        self._process.kill()
        self._process.join()

    def finish(self, timeout: float = 60) -> Ended:
        """Wait until it has ended."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            self.kill()
            raise TimeoutError(f"the process did not end within {timeout} seconds")
        return Ended(code, *(path.read_text() for path in self._outputs))


@cache
def _server() -> ForkServerContext:
    """The process that others are forked from, which ends with this one."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(_PRELOADED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATH)
        # It starts with its first process.
        started = server.Process(target=int)
        started.start()
        started.join()
    return server


def _run(
    folder: Path, arguments: list[str], environment: dict[str, str], outputs: list[Path]
) -> None:
    """Be `python -m lmpipe` in a folder."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.path.insert(0, str(folder))
    sys.argv = ["lmpipe", *arguments]
    from lmpipe.cli import main

    main()
