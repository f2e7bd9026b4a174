"""Judges: metrics that ask an LM, and how well they agree with people."""

from lmpipe.metrics.judges.agreement import Agreement, agreement
from lmpipe.metrics.judges.judge import Judge
from lmpipe.metrics.judges.semantic import CompleteAndGrounded, SemanticF1

__all__ = ["Agreement", "CompleteAndGrounded", "Judge", "SemanticF1", "agreement"]
