"""`ChainOfThought`: a predictor that reasons before it answers."""

from __future__ import annotations

from lmpipe.modules.predict import P, Predict, R_co
from lmpipe.signatures.signature import Signature, with_reasoning


class ChainOfThought(Predict[P, R_co]):
    """Like `Predict`, but asks for a `reasoning` first; results have it as an attribute.

    Source: Wei et al. 2022 (arXiv 2201.11903); as a module: arXiv 2310.03714, section 3.2.
    """

    def _prepare(self, signature: type[Signature]) -> type[Signature]:
        return with_reasoning(signature)
