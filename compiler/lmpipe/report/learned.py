"""The page's section on what the winner learned, predictor by predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmpipe.foundation.plural import plural
from lmpipe.report import records
from lmpipe.report.comparison.words import Piece, compare_words
from lmpipe.report.run_files import RunFiles
from lmpipe.report.text import retrieval_line, weights_line
from lmpipe.report.view import present
from lmpipe.state.program_state import Demo, PredictorState, member_states

# A pool of demonstrations may hold thousands.
_POOL_SHOWN = 6


@dataclass(frozen=True)
class LearnedPredictor:
    """What was learned for one predictor.

    Args:
        choices: layout, LM and other choices by name.
        pool: the first demonstrations of the pool to retrieve from.
        pool_note: what `pool` shows, or the empty string.
        words: how the instruction differs from the declared one; empty if it does not, or if the
            manifest has no declared one.
    """

    path: str
    signature: records.Signature
    state: PredictorState
    choices: Mapping[str, Any]
    pool: tuple[Demo, ...]
    pool_note: str
    words: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Learned:
    """What was learned; `ensemble` describes the members, if there are any."""

    ensemble: str
    predictors: tuple[LearnedPredictor, ...]


def make_learned(run: RunFiles) -> Learned | None:
    """Describe the learned state; None if there is none yet."""
    state, manifest = run.state, run.manifest
    if state is None:
        return None
    ensemble = ""
    if state.reduce is not None:
        members = plural(len(member_states(state)), "member")
        ensemble = f"An ensemble of {members}, reduced by {state.reduce}."
    signatures, weights = manifest.program.signatures, manifest.weights
    declared = manifest.program.instructions
    return Learned(
        ensemble,
        tuple(
            _predictor(
                path,
                item,
                state.look_up(path, signatures, records.Signature()),
                weights.get(path, records.Weights()).training,
                state.look_up(path, declared, ""),
            )
            for path, item in state.predictors.items()
        ),
    )


def _predictor(
    path: str,
    state: PredictorState,
    signature: records.Signature,
    training: records.Training | None,
    declared: str,
) -> LearnedPredictor:
    retrieval = state.retrieval
    choices = {
        "layout": state.layout,
        "constrained": "yes" if state.constrained else "no",
        "lessons": len(state.lessons) or None,
        "demonstrations": len(state.demos) if state.demos or not retrieval else None,
        "retrieved": retrieval_line(retrieval) if retrieval else None,
        "LM": state.lm,
        "weights": weights_line(state.adapter, state.lm, training),
        "decoding": state.decoding or None,
    }
    pool = retrieval.pool if retrieval else ()
    note = "The demonstrations to retrieve from:" if pool else ""
    if len(pool) > _POOL_SHOWN:
        total = plural(len(pool), "demonstration")
        note = f"The first {_POOL_SHOWN} of {total} to retrieve from; program.json has them all:"
    changed = declared and declared != state.instruction
    words = compare_words(declared, state.instruction) if changed else ()
    shown = pool[:_POOL_SHOWN]
    return LearnedPredictor(path, signature, state, present(choices), shown, note, words)
