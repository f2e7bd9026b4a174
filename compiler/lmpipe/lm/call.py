"""`Call`: one LM call in the accounts."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.lm.prices import Price
from lmpipe.lm.request import Reply


@dataclass(frozen=True, slots=True)
class Call:
    """One logical LM call, cached or not, for the accounts."""

    key: str
    label: str
    role: str
    lm: str
    price: Price | None
    reply: Reply

    @property
    def usd(self) -> float | None:
        """The cost of its tokens in US dollars, whether cached or not; None if unknown."""
        return None if self.price is None else self.price.cost(self.reply.usage)
