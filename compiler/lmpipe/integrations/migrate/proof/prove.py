"""`prove`: run a DSPy file and its migration against stubs, and compare what they ask."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.plural import plural
from lmpipe.integrations.migrate.proof.asked import Asked, differences

_ROOT = Path(__file__).parents[4]
_TIME_LIMIT = 300.0  # seconds for one file


@dataclass(frozen=True)
class Proof:
    """What the comparison of a file with its migration found.

    Args:
        compared: the programs that ask for the same, with the number of their predictors.
        problems: what differs, and what could not be run.
        note: why nothing was compared, if that is so.
    """

    compared: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[str] = ()
    note: str = ""

    def sentence(self) -> str:
        """Say in one line what was compared."""
        if self.note:
            return self.note
        shown = ", ".join(
            f"{name} ({plural(count, 'predictor')})" for name, count in self.compared.items()
        )
        return f"asks for the same as before: {shown or 'nothing'}"


def prove(original: Path, migrated: str) -> Proof:
    """Run both programs of each name once, with a stub as the LM, and compare what they ask.

    This runs the file, without the code under `if __name__ == "__main__"`, in a process of its own
    that has no network. Compiles and evaluations do nothing there, and agents do not run their
    tools: their signatures and the names of their tools are compared.

    Args:
        original: the file that uses DSPy.
        migrated: the source of its migration.
    """
    return prove_all([(original, migrated)])[0]


def prove_all(pairs: Sequence[tuple[Path, str]]) -> list[Proof]:
    """`prove` for several files, in one process for each framework."""
    originals = [original.resolve() for original, _ in pairs]
    has_dspy = find_spec("dspy") is not None
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for number, (original, migrated) in enumerate(pairs):
            copies.append(_copy_of(original.resolve(), migrated, Path(folder) / str(number)))
        after = _record("with_lmpipe", copies)
        before = _record("with_dspy", originals) if has_dspy else [{}] * len(pairs)
    return [_proof(*both, has_dspy=has_dspy) for both in zip(before, after, strict=True)]


def _copy_of(original: Path, migrated: str, folder: Path) -> Path:
    """Write a migrated file into a folder that has what lies beside the original."""
    folder.mkdir()
    for path in original.parent.iterdir():
        if path.name != original.name:
            (folder / path.name).symlink_to(path)
    copy = folder / original.name
    copy.write_bytes(migrated.encode())
    return copy


def _proof(before: Mapping[str, Any], after: Mapping[str, Any], *, has_dspy: bool) -> Proof:
    if "error" in after:
        return Proof(problems=[f"the migrated file does not run: {after['error']}"])
    if not has_dspy:
        return _without_dspy(after["programs"])
    if "error" in before:
        return Proof(problems=[f"the file does not run with DSPy: {before['error']}"])
    return _compare(before["programs"], after["programs"])


# Finds this lmpipe, behind all else: what lies beside it must not hide the standard library.
_START = """
import runpy, sys
root, module = sys.argv[1:3]
if root not in sys.path:
    sys.path.append(root)
del sys.argv[1:3]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def _record(side: str, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Run one side in a process of its own, and read what it recorded of each file.

    A file finds what lies beside it only when it runs; until then no file of the user hides a
    module that this process needs.
    """
    module = f"lmpipe.integrations.migrate.proof.{side}"
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"{number}.json" for number in range(len(paths))]
        pairs = [str(path) for pair in zip(paths, outs, strict=True) for path in pair]
        command = [sys.executable, "-P", "-c", _START, str(_ROOT), module, *pairs]
        limit = _TIME_LIMIT * len(paths)
        try:
            done = subprocess.run(  # noqa: S603 - this Python, on the user's own file
                command, capture_output=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return [{"error": f"it did not end within {limit:.0f} seconds"}] * len(paths)
        last = "".join(done.stderr.decode(errors="replace").strip().splitlines()[-1:])
        ended = {"error": last or f"it ended with exit code {done.returncode}"}
        return [load_json(out.read_bytes()) if out.exists() else ended for out in outs]


def _without_dspy(programs: Mapping[str, Any]) -> Proof:
    problems = [
        f"{name} does not run: {found['error']}"
        for name, found in programs.items()
        if isinstance(found, dict)
    ]
    runs = ", ".join(name for name, found in programs.items() if isinstance(found, list))
    note = f"runs: {runs or 'nothing'}; not compared with DSPy, which is not installed"
    return Proof(problems=problems, note=note)


def _compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Proof:
    compared: dict[str, int] = {}
    problems: list[str] = []
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict):
            problems.append(f"{name} does not run with DSPy: {old['error']}")
        if isinstance(new, dict):
            problems.append(f"{name} does not run after the migration: {new['error']}")
        if old is None or new is None:
            problems.append(f"{name} is a program only {'after' if old is None else 'before'}")
        if not isinstance(old, list) or not isinstance(new, list):
            continue
        asked = [[Asked.from_json(item) for item in side] for side in (old, new)]
        found = differences(*asked)
        problems += [f"{name}: {text}" for text in found]
        if not found:
            compared[name] = len(asked[1])
    if not compared and not problems:
        return Proof(note="no program was found: neither an instance nor a class without arguments")
    return Proof(compared, problems)
