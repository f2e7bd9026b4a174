"""How good an answer of programs/tickets.py is."""

from __future__ import annotations

import lmpipe


def right_team(example: lmpipe.Example, prediction: lmpipe.Prediction) -> lmpipe.Score:
    """Score 1 for the right team, else 0; the feedback is for optimizers that read it."""
    if prediction.team == example.team:
        return lmpipe.Score(1.0)
    return lmpipe.Score(0.0, f"The team is {example.team}, not {prediction.team}.")
