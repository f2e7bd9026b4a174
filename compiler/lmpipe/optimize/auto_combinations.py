"""Combine the best state with single parts of other good candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lmpipe.optimize.engine.events import Candidate
from lmpipe.optimize.engine.race import Entry
from lmpipe.optimize.engine.task import Task
from lmpipe.state.program_state import PredictorState, ProgramState

# The parts of what is learned, by the fields of a predictor's state.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "instructions": ("instruction",),
    "demonstrations": ("demos", "retrieval"),
    "layout and constraint": ("layout", "constrained"),
}
# How many of the other values of a part are tried.
_VALUES = 2


def combinations(task: Task) -> list[Entry]:
    """Return the best state with one part of another candidate, or as the program started.

    For each part, the values are those of the best candidates that differ from the best in it, and
    that of the start. States that are candidates already are left out.
    """
    known = {candidate.state.hash for candidate in task.candidates}
    found: dict[str, Entry] = {}
    for part, fields in _PARTS.items():
        for donor, state in _donors(task, fields):
            combined = _with_part(task.best.state, state, fields)
            if combined.hash not in known:
                found.setdefault(combined.hash, (f"best with the {part} of {donor}", combined))
    return list(found.values())


def _donors(task: Task, fields: tuple[str, ...]) -> Iterator[tuple[str, ProgramState]]:
    """Yield the best candidates with other values of some fields, then the start."""
    seen = {_values(task.best.state, fields)}
    ranked: list[Candidate] = sorted(
        task.candidates, key=lambda item: (-task.estimate(item), item.number)
    )
    for candidate in ranked:
        values = _values(candidate.state, fields)
        if len(seen) <= _VALUES and values not in seen:
            seen.add(values)
            yield f"candidate {candidate.number}", candidate.state
    if _values(task.start, fields) not in seen:
        yield "the start", task.start


def _values(state: ProgramState, fields: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(getattr(learned, name) for learned in state.predictors.values() for name in fields)


def _with_part(best: ProgramState, donor: ProgramState, fields: tuple[str, ...]) -> ProgramState:
    changed: dict[str, PredictorState] = {
        path: learned.replace(**{name: getattr(donor[path], name) for name in fields})
        for path, learned in best.predictors.items()
    }
    return best.update(changed)
