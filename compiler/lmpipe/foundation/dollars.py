"""Amounts of US dollars, as all texts write them."""

from __future__ import annotations

from math import floor, log10


def dollars(usd: float) -> str:
    """Write US dollars: `$1,234.50`, `$0.0123`, and of small amounts the first two digits.

    An amount below a dollar has at least four decimals, as the costs of calls are small.
    """
    if usd == 0 or abs(usd) >= 1:
        return f"${usd:,.2f}"
    decimals = max(4, 1 - floor(log10(abs(usd))))
    return f"${usd:.{decimals}f}"
