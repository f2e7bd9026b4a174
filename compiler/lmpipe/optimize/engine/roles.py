"""`LMRoles`: who is asked in a compile."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.lm.lm import LM


@dataclass(frozen=True, kw_only=True)
class LMRoles:
    """Who is asked in a compile, by role.

    Args:
        student: the LM that the compiled program will run on.
        teacher: the LM of rollouts.
        proposer: the LM that writes instructions and the like.
        judge: the LM of a metric that asks one; the configured one if None.
        embedder: the embedding LM that chooses demonstrations; None chooses them by words.
    """

    student: LM
    teacher: LM
    proposer: LM
    judge: LM | None = None
    embedder: LM | None = None
