"""What is left of a budget, in runs of the program."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.lm.spend import Spend
from lmpipe.optimize.engine.budget import Ledger


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a budget, estimated from what was spent so far.

    Args:
        runs: how many runs of the program it allows; None if the budget has no limits.
        ask: what one question to the proposer takes, in runs of the program.
    """

    runs: int | None
    ask: float = 1.0


def estimate_allowance(ledger: Ledger) -> Allowance:
    """Estimate what is left, if runs and questions go on to take what they took on average.

    A question is one call, as long as its answer can be read.
    """
    left, runs = ledger.remaining(), ledger.program_runs
    if not left:
        return Allowance(None)
    if not runs:
        return Allowance(0)
    roles = ledger.account.by_role
    asked = roles["proposer"].calls if "proposer" in roles else 0
    run = _each([spend for role, spend in roles.items() if role != "proposer"], runs)
    ask = _each([spend for role, spend in roles.items() if role == "proposer"], asked)
    run["seconds"] = ledger.elapsed / runs
    # The limit of which a run takes the largest part is the one that ends the search.
    shares = {name: run[name] / left[name] if left[name] else 1.0 for name in left}
    first = max(shares, key=lambda name: shares[name])
    if not shares[first]:  # nothing was counted yet, as with cached replies of no price
        return Allowance(None)
    price = ask[first] / run[first] if asked and first in ask and run[first] else 1.0
    return Allowance(int(1 / shares[first] + 1e-9), price)


def _each(spends: list[Spend], count: int) -> dict[str, float]:
    """Return the mean spend of `count` runs or questions, by the name of the limit."""
    return {
        name: sum(getattr(spend, name) or 0.0 for spend in spends) / max(1, count)
        for name in ("calls", "tokens", "usd")
    }
