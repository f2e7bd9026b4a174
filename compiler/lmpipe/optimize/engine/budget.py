"""Hard budgets: what a compile may spend, over task, teacher, proposer and judge together.

A run of the program is admitted only if its worst case still fits beside what is spent and what
the runs in flight have reserved. Runs are admitted in a fixed order, so where the budget ends
does not depend on concurrency: calls, tokens and money count cached replies like fresh ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from lmpipe.errors import BudgetExhaustedError, RecipeError
from lmpipe.foundation.time_limits import within
from lmpipe.lm.call import Call
from lmpipe.lm.spend import Account, Spend, full_price

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a compile may spend; None is no limit.

    Args:
        calls: LM calls.
        tokens: prompt and completion tokens together.
        usd: US dollars, at the LMs' prices. Prompt tokens count in full, whatever a server had of
            them in its prefix cache: that depends on timing, and a budget must not.
        seconds: wall time; the one limit that is not deterministic.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    @staticmethod
    def parse(text: str) -> Budget:
        """Read `calls=2000,usd=1`.

        Raises:
            RecipeError: if it says anything else.
        """
        known = {item.name for item in fields(Budget)}
        values: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            try:
                number = float(value) if name in ("usd", "seconds") else int(value)
            except ValueError:
                number = -1
            if name not in known or number <= 0:
                raise RecipeError(
                    f"budget {text!r}: cannot read {part!r}: write positive numbers as in "
                    f"calls=2000,usd=1.5; limits are {', '.join(sorted(known))}"
                )
            values[name] = number
        return Budget(**values)

    def to_json(self) -> dict[str, float | None]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __str__(self) -> str:
        given = [f"{name}={value:g}" for name, value in self.to_json().items() if value is not None]
        return ",".join(given) or "none"


class Ledger:
    """The account of one compile.

    Args:
        budget: the caps.
        started: `time.monotonic()` at the start of the compile.
    """

    def __init__(self, budget: Budget, *, started: float | None = None) -> None:
        self.budget = budget
        self.account = Account()
        # As the budget counts it: money without what servers take off for cached prompts.
        self._charged = Spend()
        self._withheld = Spend()
        self._reserved = Spend()
        self._runs = 0
        self._changed = asyncio.Event()
        self._started = time.monotonic() if started is None else started

    @property
    def spent(self) -> dict[str, Spend]:
        """What was spent, by role."""
        return self.account.by_role

    @property
    def total(self) -> Spend:
        """All that was spent, over all roles."""
        return self.account.total

    def withhold(self, worst: Spend) -> None:
        """Keep the worst case of a later phase, or half of the budget, out of reach of this one."""
        caps = {name: getattr(self.budget, name) for name in ("calls", "tokens", "usd")}
        least = {
            name: min(getattr(worst, name), cap / 2 if name == "usd" else cap // 2)
            for name, cap in caps.items()
            if cap is not None
        }
        self._withheld = replace(worst, **least)

    def room(self, worst: Spend) -> int | None:
        """How many things of this worst case still fit while nothing is in flight; None: any."""
        spent, room = self._charged, []
        for name in ("calls", "tokens", "usd"):
            cap, each = getattr(self.budget, name), getattr(worst, name)
            if cap is not None and each > 0:
                room.append(max(0, int((cap - _exact(getattr(spent, name))) / each)))
        return min(room, default=None)

    def release(self) -> None:
        """Let the later phase have what was withheld for it."""
        self._withheld = Spend()

    async def admit(self, worst: Spend) -> None:
        """Wait until a run's worst case fits, and reserve it.

        Raises:
            BudgetExhaustedError: if it does not fit though nothing is in flight.
        """
        while problem := self._over(self._charged + self._withheld + self._reserved + worst):
            if not self._runs:
                raise BudgetExhaustedError(
                    f"the budget ({self.budget}) is used up: the next run may come to {problem}"
                )
            self._changed.clear()
            await self._changed.wait()
        self.check_time()
        self._reserved += worst
        self._runs += 1

    def settle(self, worst: Spend, calls: Sequence[Call]) -> None:
        """Replace a run's reservation by what it really spent.

        Raises:
            RecipeError: if that is more tokens or money: an LM takes longer prompts than its
                `context` says; or if money is limited and a price is unknown.
        """
        tokens = sum(call.reply.usage.tokens for call in calls)
        actual = Spend(len(calls), tokens, full_price(calls))
        self.account.add(calls)
        self._charged += replace(actual, usd=actual.usd or 0.0)
        self._reserved += worst * -1
        self._runs -= 1
        self._changed.set()
        if self.budget.usd is not None and actual.usd is None:
            lm = next(call.lm for call in calls if call.price is None)
            raise RecipeError(
                f"the budget is in dollars and {lm} was asked, whose price is unknown: give it as "
                "LM(…, price=(dollars per million prompt tokens, per million completion tokens))"
            )
        for name in ("tokens", "usd"):
            took, aside = getattr(actual, name), getattr(worst, name)
            if getattr(self.budget, name) is not None and _exact(took) > _exact(aside):
                raise RecipeError(
                    f"{actual.calls} LM calls took {took:g} {name}, more than the {aside:g} that "
                    "were set aside: give the LM its true context, LM(…, context=…), and a metric "
                    "that asks an LM of its own that LM as the recipe's judge"
                )

    def check_time(self) -> None:
        """Stop when the wall time is over.

        Raises:
            BudgetExhaustedError: then.
        """
        left = self.seconds_left()
        if left is not None and left <= 0:
            raise self._out_of_time()

    def seconds_left(self) -> float | None:
        """Wall time left, or None where there is no limit."""
        if self.budget.seconds is None:
            return None
        return self.budget.seconds - (time.monotonic() - self._started)

    async def in_time(self, running: Awaitable[T]) -> T:
        """Wait for something while there is wall time left.

        Raises:
            BudgetExhaustedError: if it is over first.
        """
        return await within(self.seconds_left(), running, late=self._out_of_time)

    def _out_of_time(self) -> BudgetExhaustedError:
        return BudgetExhaustedError(f"the budget ({self.budget}) is used up: time is over")

    def _over(self, spend: Spend) -> str:
        for name in ("calls", "tokens", "usd"):
            cap, value = getattr(self.budget, name), getattr(spend, name)
            if cap is not None and _exact(value) > cap:
                return f"{value:g} {name} of {cap:g}"
        return ""


def _exact(value: float) -> float:
    """A sum of money without the last bits, which depend on the order of adding up."""
    return round(value, 9)


@dataclass(frozen=True)
class RunAdmission:
    """The ledger as the evaluation sees it: each run of the program has one worst case."""

    ledger: Ledger
    worst: Spend

    async def admit(self) -> None:
        await self.ledger.admit(self.worst)

    def settle(self, calls: Sequence[Call]) -> None:
        self.ledger.settle(self.worst, calls)
