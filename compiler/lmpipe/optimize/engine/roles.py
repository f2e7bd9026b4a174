"""`LMRoles`: the LM of each role in a compile."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.lm.lm import LM


@dataclass(frozen=True, kw_only=True)
class LMRoles:
    """The LM of each role in a compile.

    Args:
        student: the LM that the compiled program will run on.
        teacher: the LM of rollouts.
        proposer: the LM that writes instructions, rules and advice.
        judge: the LM of a metric that calls one; the configured LM if None.
        embedder: the embedding model that selects demonstrations; if None, they are selected by
            words.
    """

    student: LM
    teacher: LM
    proposer: LM
    judge: LM | None = None
    embedder: LM | None = None
