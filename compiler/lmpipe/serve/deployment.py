"""`Deployment`: the runs that answer for one program, and `Programs`: all programs of a server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import isfinite
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.lm.current import Settings
from lmpipe.modules.module import Module
from lmpipe.monitoring.served_inputs import ServedInputs
from lmpipe.serve.interface import Interface

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

AS_DECLARED = "as-declared"
"""What stands for the run of a program that was not compiled."""


def check_name(name: str) -> None:
    """Raise a ConfigError for a program's name that URLs, models and tools cannot have."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r:.120} cannot be a program's name in URLs, which begins with a letter or "
            "digit, and has letters, digits, dots, dashes and underscores"
        )


@dataclass(frozen=True)
class ServedRun:
    """A program as one run learned it.

    Args:
        name: the name of the program in URLs.
        run: the name of the run folder, or what stands for it if the program was not compiled.
        program: the program, bound to what was learned.
        settings: its LM, the runtime of its calls, and its embedder.
        seen: counts the inputs that it is served; None if they are not compared with those of its
            compile.
    """

    name: str
    run: str
    program: Module
    settings: Settings
    seen: ServedInputs | None = None

    @cached_property
    def interface(self) -> Interface:
        """What it takes and gives."""
        return Interface.of(self.name, self.program)

    def describe(self) -> dict[str, Any]:
        """Describe it for clients and operators."""
        return {"run": self.run, "state": self.program.state().hash, "lm": self.settings.lm.model}


@dataclass(frozen=True)
class Deployment:
    """The runs that answer for one program, each for its share of the requests.

    A deployment never changes. A swap puts another in its place, and requests that began with this
    one end with it.

    Args:
        runs: the runs, the first of which describes the program.
        shares: a number above 0 for each run; only their proportions matter.
    """

    runs: Sequence[ServedRun]
    shares: Sequence[float]

    def __post_init__(self) -> None:
        for run in self.runs:
            check_name(run.name)
        names = [run.run for run in self.runs]
        if not names or len(names) != len(self.shares):
            raise ConfigError("a deployment needs a run or more, and a share for each")
        if len(set(names)) < len(names):
            raise ConfigError(f"the program {self.name} has the same run twice: {', '.join(names)}")
        if any(run.name != self.name for run in self.runs):
            raise ConfigError(f"runs of {self.name} have other names: give all of them that name")
        first, *others = (run.interface.schemas() for run in self.runs)
        if any(other != first for other in others):
            raise ConfigError(
                f"runs of {self.name} take other inputs or give other outputs: serve them as "
                "programs of their own, NAME=RUN"
            )
        if not all(share > 0 for share in self.shares) or not isfinite(sum(self.shares)):
            raise ConfigError(
                f"the shares of {self.name} are {self.shares}: give numbers above 0 with a finite "
                "sum"
            )

    @property
    def name(self) -> str:
        """The name of the program."""
        return self.runs[0].name

    @property
    def interface(self) -> Interface:
        """What clients are told that it takes and gives."""
        return self.runs[0].interface

    def choose(self, unit: str) -> ServedRun:
        """Choose the run for a unit, such as a user: the same one each time.

        The units are spread over the runs by their shares, and for each program in another way.
        """
        if len(self.runs) == 1:
            return self.runs[0]
        digest = hashlib.sha256(f"{self.name}\0{unit}".encode()).digest()
        at = int.from_bytes(digest[:6], "big") / 2**48 * self._ends[-1]
        return next(run for run, end in zip(self.runs, self._ends, strict=True) if at < end)

    def find(self, run: str) -> ServedRun | None:
        """Return the run of this name, if it is one of these."""
        return next((item for item in self.runs if item.run == run), None)

    def describe(self) -> list[dict[str, Any]]:
        """Describe the runs and their shares, which add up to 1."""
        total = self._ends[-1]
        return [
            {**run.describe(), "share": share / total}
            for run, share in zip(self.runs, self.shares, strict=True)
        ]

    @cached_property
    def _ends(self) -> list[float]:
        return list(accumulate(self.shares))


class Programs:
    """The programs of a server by name.

    Attributes:
        version: counts the swaps, so that what is made of the programs can be kept until one.
    """

    def __init__(self, deployments: Sequence[Deployment]) -> None:
        self._deployments = {item.name: item for item in deployments}
        self.version = 0
        if len(self._deployments) < len(deployments):
            raise ConfigError("two programs of a server have the same name")

    def __iter__(self) -> Iterator[Deployment]:
        return iter(self._deployments.values())

    @property
    def names(self) -> Mapping[str, Deployment]:
        """The deployments by the name of their program."""
        return self._deployments

    def get(self, name: str) -> Deployment | None:
        """Return what answers now for a program."""
        return self._deployments.get(name)

    def swap(self, deployment: Deployment) -> None:
        """Let another deployment answer for its program from now on; runs in flight go on."""
        if deployment.name not in self._deployments:
            known = ", ".join(self._deployments)
            raise ConfigError(f"the server has no program {deployment.name!r}: it has {known}")
        self._deployments = {**self._deployments, deployment.name: deployment}
        self.version += 1
