"""Name candidates by what they show and by what differs from the start."""

from __future__ import annotations

from collections.abc import Mapping

from lmpipe.foundation.plural import plural
from lmpipe.state.lessons import texts_of
from lmpipe.state.program_state import PredictorState, ProgramState


def demos_words(state: ProgramState) -> str:
    """Say how many demonstrations a state shows, for each predictor if their numbers differ.

    Returns:
        Words such as `4 demos`, `1 nearest demo`, or `no demos for describe, 4 demos for name`.
    """
    shown = {path: _shown(learned) for path, learned in state.predictors.items()}
    if len(set(shown.values())) == 1:
        return next(iter(shown.values()))
    return ", ".join(f"{words} for {path}" for path, words in shown.items())


def changes_words(start: ProgramState, state: ProgramState) -> str:
    """Say in what a state of the same program differs from the start.

    Instructions, descriptions of fields and demonstrations are compared.

    Returns:
        Words such as `new instruction for name, 2 demos` or `14 lessons`.
    """
    rewritten = [
        path
        for path, learned in state.predictors.items()
        if learned.instruction != start[path].instruction
    ]
    words = []
    if rewritten:
        where = f" for {', '.join(rewritten)}" if len(state.predictors) > 1 else ""
        words.append(f"new instruction{where}")
    if _lessons(state) != _lessons(start):
        words.append(plural(sum(map(len, _lessons(state))), "lesson"))
    described = [
        name if len(state.predictors) == 1 else f"{path}.{name}"
        for path, learned in state.predictors.items()
        for name in sorted(_changed(start[path].descriptions, learned.descriptions))
    ]
    if described:
        words.append(f"new description of {', '.join(described)}")
    if _demos(state) != _demos(start):
        words.append(demos_words(state))
    return ", ".join(words) or "as at the start"


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name) != after.get(name)}


def _shown(learned: PredictorState) -> str:
    words = [plural(len(learned.demos), "demo")] if learned.demos else []
    near = learned.retrieval
    if near is not None and near.pool:
        words.append(plural(min(near.k, len(near.pool)), "nearest demo"))
    return " and ".join(words) or "no demos"


def _lessons(state: ProgramState) -> list[tuple[str, ...]]:
    return [texts_of(learned.lessons) for learned in state.predictors.values()]


def _demos(state: ProgramState) -> list[object]:
    return [(learned.demos, learned.retrieval) for learned in state.predictors.values()]
