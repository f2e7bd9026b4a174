"""Modules that run a program several times on the same inputs and return one prediction."""

from lmpipe.modules.attempts.attempts import Attempts
from lmpipe.modules.attempts.best_of_n import BestOfN
from lmpipe.modules.attempts.multi_chain_comparison import MultiChainComparison
from lmpipe.modules.attempts.refine import Refine
from lmpipe.modules.attempts.self_consistency import SelfConsistency

__all__ = ["Attempts", "BestOfN", "MultiChainComparison", "Refine", "SelfConsistency"]
