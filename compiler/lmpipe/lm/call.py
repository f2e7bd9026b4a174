"""`Call`: one LM call in the accounts."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.lm.prices import Price
from lmpipe.lm.request import Reply


@dataclass(frozen=True, slots=True)
class Call:
    """One logical LM call, cached or not, for the accounts.

    Args:
        key: the cache key of its request.
        label: the path of the predictor that made it.
        role: who made it, such as `task` or `judge`.
        lm: the LM's model.
        price: of the LM's tokens, or None if it is unknown.
        reply: what came; it was asked for `reply.attempts` times.
        waited: how long a fresh call waited for limits and retries, in seconds.
    """

    key: str
    label: str
    role: str
    lm: str
    price: Price | None
    reply: Reply
    waited: float = 0.0

    @property
    def resent(self) -> int:
        """How often the request was sent again, because the server had not answered it."""
        return self.reply.attempts - 1

    @property
    def usd(self) -> float | None:
        """The cost of its tokens in US dollars, whether cached or not; None if unknown."""
        return None if self.price is None else self.price.cost(self.reply.usage)
