"""The baselines of a compile: states that every run scores before it searches."""

from __future__ import annotations

from collections.abc import Mapping

from lmpipe.state.program_state import ProgramState


def baselines(declared: ProgramState) -> Mapping[str, ProgramState]:
    """Return the program as declared and, if that differs, with constrained outputs, by name."""
    found = {"as declared": declared}
    constrained = declared.map(constrained=True)
    if constrained != declared:
        found["constrained"] = constrained
    return found
