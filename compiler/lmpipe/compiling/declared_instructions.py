"""Whether a program still declares the instructions that it was compiled from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from lmpipe.compiling.run_folder import Artifact
from lmpipe.foundation.shorten import one_line
from lmpipe.modules.module import Module


class InstructionWarning(UserWarning):
    """A program declares another instruction than the one that it was compiled from."""


def declared_instructions(program: Module) -> dict[str, str]:
    """Return the instructions that a program declares, by predictor path."""
    return {path: item.instruction for path, item in program.state().predictors.items()}


def changed_instructions(program: Module, artifact: Artifact) -> str:
    """Say which declared instructions changed since a compile; empty if none did.

    One that is now declared as the compile learned it makes no difference, and is not counted.
    Runs of older versions do not tell their instructions.
    """
    compiled: Mapping[str, str] = artifact.manifest.get("program", {}).get("instructions", {})
    state = artifact.state
    learned = {
        (state.declared_path(path), item.instruction) for path, item in state.predictors.items()
    }
    changed = {
        path: _difference(compiled[path], now)
        for path, now in declared_instructions(program).items()
        if path in compiled and compiled[path] != now and (path, now) not in learned
    }
    if not changed:
        return ""
    first = next(iter(changed))
    own = next((path for path in state.predictors if state.declared_path(path) == first), first)
    return "\n".join(
        [
            f"the declared instruction differs from the one that {artifact.path} was compiled "
            "from:",
            *(f"  {path}: {difference}" for path, difference in changed.items()),
            "  the run's instruction is used; to use the declared one, compile again, or set it in "
            f"Python: state = program.state(); program.bind(state.update({{{own!r}: "
            f"state[{own!r}].replace(instruction=…)}}))",
        ]
    )


def _difference(before: str, now: str) -> str:
    """Show the first words in which two texts differ."""
    old, new = before.split(), now.split()
    for kind, start, end, first, last in difflib.SequenceMatcher(a=old, b=new).get_opcodes():
        if kind != "equal":
            was, declared = " ".join(old[start:end]), " ".join(new[first:last])
            return f"{one_line(was, 100)!r} is {one_line(declared, 100)!r} now"
    return "its white space changed"
