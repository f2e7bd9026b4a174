"""The parts of a learned state, and the states that an ablation compares for each of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lmpipe.foundation.canonical_json import canonical_json
from lmpipe.foundation.plural import plural
from lmpipe.modules.module import Predictor
from lmpipe.optimize.shared.draw_demos import draw_demos
from lmpipe.state.program_state import PredictorState, ProgramState, member_states, to_plain


@dataclass(frozen=True)
class StatePart:
    """A part of a learned state that differs from the declared one.

    Args:
        name: the name of the part.
        learned: what was learned, in a few words.
        without: the learned state with this part as declared.
        alone: the declared state with this part as learned; None if that makes no sense.
    """

    name: str
    learned: str
    without: ProgramState
    alone: ProgramState | None


@dataclass(frozen=True)
class _FieldPart:
    """A part that is some fields of each predictor's state; `learned` describes what they hold."""

    name: str
    fields: tuple[str, ...]
    learned: Callable[[PredictorState], str]

    def copied(self, source: PredictorState, target: PredictorState) -> PredictorState:
        """Return the target with the fields of this part as the source has them."""
        return target.replace(**{name: getattr(source, name) for name in self.fields})


def _demonstrations(learned: PredictorState) -> str:
    shown = [f"{len(learned.demos)} fixed"] if learned.demos else []
    if (retrieval := learned.retrieval) is not None:
        shown.append(f"{retrieval.k} nearest of {len(retrieval.pool):,}")
    return " and ".join(shown) or "none"


def _decoding(learned: PredictorState) -> str:
    return canonical_json(to_plain(learned.decoding)).decode() if learned.decoding else "none"


def _weights(learned: PredictorState) -> str:
    return learned.adapter.name if learned.adapter else learned.lm or "none"


# Each field of a predictor's state is in one part. Weights come last: they may need a server of
# their own, which replaces the one of all states before.
_WEIGHTS = _FieldPart("weights", ("adapter", "lm"), _weights)
_PARTS = (
    _FieldPart("demonstrations", ("demos", "retrieval"), _demonstrations),
    _FieldPart(
        "instruction",
        ("instruction",),
        lambda learned: plural(len(learned.instruction), "character"),
    ),
    _FieldPart(
        "descriptions of fields",
        ("descriptions",),
        lambda learned: plural(len(learned.descriptions), "field"),
    ),
    _FieldPart("lessons", ("lessons",), lambda learned: plural(len(learned.lessons), "lesson")),
    _FieldPart("layout", ("layout",), lambda learned: learned.layout),
    _FieldPart(
        "constrained outputs",
        ("constrained",),
        lambda learned: "on" if learned.constrained else "off",
    ),
    _FieldPart("decoding settings", ("decoding",), _decoding),
    _WEIGHTS,
)


def most_states(*, trains: bool, members: int) -> int:
    """Return how many states the parts of a learned state need at most.

    Args:
        trains: whether weights are trained.
        members: the maximum number of members of an ensemble; 1 if there is none.
    """
    fields = len(_PARTS) - (not trains)
    without = fields + 1 + (members > 1)  # the nearest demonstrations, and the vote
    alone = fields + 1  # the declared state, with which they are compared
    return without + alone


def parts_of(
    state: ProgramState,
    declared: ProgramState,
    predictors: Mapping[str, Predictor],
    rng: Callable[[str], random.Random],
) -> tuple[StatePart, ...]:
    """List the parts in which a learned state differs from the declared one.

    Args:
        predictors: the program's predictors, by path.
        rng: makes the random stream of a name, to draw the fixed demonstrations that stand in for
            the nearest ones.
    """
    found = [part for fields in _PARTS if (part := _field_part(fields, state, declared))]
    nearest = _nearest(state, declared, predictors, rng)
    if nearest is not None:
        found.insert(1, nearest)  # after the demonstrations
    if state.reduce is not None and declared.reduce is None:
        members = member_states(state)
        learned = f"{plural(len(members), 'member')}, {state.reduce}"
        found.insert(0, StatePart("vote", learned, members[0], None))
    return tuple(found)


def _field_part(part: _FieldPart, state: ProgramState, declared: ProgramState) -> StatePart | None:
    pairs = {
        path: (item, state.look_up(path, declared.predictors, item))
        for path, item in state.predictors.items()
    }
    changed = {path: items for path, items in pairs.items() if part.copied(*items) != items[1]}
    if not changed:
        return None
    without = {path: part.copied(start, item) for path, (item, start) in changed.items()}
    alone = None
    if state.reduce == declared.reduce and state.predictors.keys() == declared.predictors.keys():
        alone = declared.update({path: part.copied(*items) for path, items in changed.items()})
    learned = {path: part.learned(item) for path, (item, _) in changed.items()}
    return StatePart(part.name, _of_predictors(learned, len(pairs)), state.update(without), alone)


def _nearest(
    state: ProgramState,
    declared: ProgramState,
    predictors: Mapping[str, Predictor],
    rng: Callable[[str], random.Random],
) -> StatePart | None:
    """Compare the demonstrations nearest to each input with as many fixed ones of the same pool."""
    fixed: dict[str, PredictorState] = {}
    instead: dict[str, str] = {}
    for path, item in state.predictors.items():
        near = item.retrieval
        if near is None or near == state.look_up(path, declared.predictors, item).retrieval:
            continue
        if near.k < len(near.pool):
            spec = (predictors.get(path) or predictors[state.declared_path(path)]).spec
            drawn = draw_demos(spec, near.pool, near.k, rng(f"fixed demonstrations of {path}"))
            fixed[path] = item.replace(demos=(*item.demos, *drawn), retrieval=None)
            instead[path] = f"in place of {near.k} fixed ones"
    if not fixed:
        return None
    return StatePart(
        "choice of the nearest",
        _of_predictors(instead, len(state.predictors)),
        state.update(fixed),
        None,
    )


def _of_predictors(learned: Mapping[str, str], predictors: int) -> str:
    """Describe what predictors learned: once if all of them learned the same."""
    if len(learned) == predictors and len(set(learned.values())) == 1:
        return next(iter(learned.values()))
    return "; ".join(f"{path}: {text}" for path, text in learned.items())
