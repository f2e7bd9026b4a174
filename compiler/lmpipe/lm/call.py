"""One LM call as it is accounted: who asked, for what, and what came back."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.lm.prices import Price
from lmpipe.lm.request import Reply


@dataclass(frozen=True, slots=True)
class Call:
    """One logical LM call, cached or not, for the accounts.

    Args:
        key: its cache key.
        label: the path of the predictor that made it.
        role: `task`, `teacher`, `proposer`, `judge` or `embedder`.
        lm: the model's name.
        price: what its tokens cost, or None where that is unknown.
        reply: the answer.
    """

    key: str
    label: str
    role: str
    lm: str
    price: Price | None
    reply: Reply

    @property
    def usd(self) -> float | None:
        """US dollars for its tokens, whether it reached the LM or not; None if unknown."""
        return None if self.price is None else self.price.cost(self.reply.usage)
