"""What `lmpipe doctor` says about lmpipe's own requirements and its extras.

Both are read from the metadata of the installed package, so that a new extra is checked at once.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lmpipe.cli.child_process import run_child
from lmpipe.errors import ConfigError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "lmpipe"

# Each import is a process of its own; some take seconds.
_IMPORT_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra, and what it installs beside lmpipe."""

    name: str
    requirements: tuple[Requirement, ...]

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f'pip install "{PACKAGE}[{self.name}]"'


@dataclass(frozen=True, slots=True)
class Found:
    """What is installed of some requirements.

    Args:
        versions: the packages that are installed, with their versions, in words.
        absent: the names of those that are not.
        wrong: those whose version does not fit, in words.
    """

    versions: tuple[str, ...]
    absent: tuple[str, ...]
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join((*self.versions, *(f"no {name}" for name in self.absent)))


def own_requirements() -> tuple[Requirement, ...]:
    """Return what lmpipe requires without any extra, on this Python.

    Raises:
        ConfigError: if lmpipe runs from its source and is not installed.
    """
    return tuple(one for one in _requirements() if _applies(one, extra=""))


def declared_extras() -> list[Extra]:
    """Return the extras of lmpipe, without those that only join others, such as `all`.

    Raises:
        ConfigError: if lmpipe runs from its source and is not installed.
    """
    names = _metadata().get_all("Provides-Extra") or []
    every = _requirements()
    plain = {str(one) for one in own_requirements()}
    extras = [
        Extra(
            name,
            tuple(one for one in every if _applies(one, extra=name) and str(one) not in plain),
        )
        for name in sorted(names)
    ]
    return [extra for extra in extras if extra.requirements and not _joins_others(extra, extras)]


def installed(requirements: Iterable[Requirement]) -> Found:
    """Find which packages are installed, and whether in the required versions."""
    versions, absent, wrong = [], [], []
    for one in requirements:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            absent.append(one.name)
            continue
        versions.append(f"{one.name} {version}")
        if not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} {version}, expected {one.specifier}")
    return Found(tuple(versions), tuple(absent), tuple(wrong))


async def import_error(requirements: Sequence[Requirement]) -> str:
    """Import the packages in a process of their own; return the last line of its error, or ""."""
    modules = [module for one in requirements if (module := _module_of(one.name))]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    with tempfile.TemporaryDirectory() as empty:  # no module of the user's folder is taken for one
        try:
            ended = await run_child(
                *(sys.executable, "-W", "ignore", "-c", code, *modules),
                seconds=_IMPORT_TIMEOUT,
                folder=empty,
                # Otherwise it asks the network.
                environment={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            )
        except TimeoutError:
            return f"the import takes over {_IMPORT_TIMEOUT:g} seconds"
    if ended.returncode == 0:
        return ""
    return ended.last_error or f"the import ends with {ended.returncode}"


def _metadata() -> metadata.PackageMetadata:
    try:
        return metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"{PACKAGE} runs from its source and is not installed, so that its requirements are "
            "not known: run `pip install -e .` in its folder"
        ) from error


def _requirements() -> list[Requirement]:
    from packaging.requirements import Requirement

    return [Requirement(text) for text in _metadata().get_all("Requires-Dist") or []]


def _applies(requirement: Requirement, *, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _joins_others(extra: Extra, extras: Sequence[Extra]) -> bool:
    """Whether an extra requires exactly what two or more others do."""
    names = {one.name for one in extra.requirements}
    if PACKAGE in names:
        return True
    within = [{one.name for one in other.requirements} for other in extras if other is not extra]
    within = [others for others in within if others < names]
    return len(within) > 1 and set().union(*within) == names


def _module_of(distribution: str) -> str:
    """Return the module that a package installs: its uppermost one; "" if it has none."""
    files = metadata.distribution(distribution).files or []
    packages = [PurePosixPath(file).parent for file in files if file.name == "__init__.py"]
    modules = [
        PurePosixPath(file.name.partition(".")[0])
        for file in files
        if len(file.parts) == 1 and file.suffix in (".py", ".so", ".pyd")
    ]
    own = distribution.replace("-", "_").lower()
    found = sorted(
        (path for path in (*packages, *modules) if all(map(str.isidentifier, path.parts))),
        key=lambda path: (len(path.parts), path.parts[0].lower() != own, str(path)),
    )
    return ".".join(found[0].parts) if found else ""
