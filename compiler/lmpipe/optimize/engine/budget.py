"""Hard budgets: what a compile may spend on task, teacher, proposer and judge together.

A program run is admitted only if its worst case still fits beside what is already spent and what
the runs in flight have reserved. Runs are admitted in a fixed order, and cached replies count like
fresh ones, so where the budget ends does not depend on concurrency or on the cache.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from lmpipe.errors import BudgetExhaustedError, RecipeError
from lmpipe.foundation.checks import check_fields
from lmpipe.foundation.dollars import dollars
from lmpipe.foundation.plural import plural
from lmpipe.foundation.time_limits import within
from lmpipe.lm.call import Call
from lmpipe.lm.spend import Account, Spend, full_price, spend_on_resent

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Budget:
    """The maximum that a compile may spend; None means no limit.

    Args:
        calls: LM calls. A request that was sent again, because the server had not answered it,
            counts again in every limit: the server may have worked on it. So budgets are exceeded
            by as much as is sent again while they end.
        tokens: prompt and completion tokens together. A call whose tokens the server did not
            count counts as its maximum, here and in dollars.
        usd: US dollars, at the LMs' prices. Prompt tokens count in full even if the server had
            them in its prefix cache: cache hits depend on timing, and a budget must not.
        seconds: wall time, some of which is kept for the final test; the only limit that is not
            deterministic.

    Raises:
        RecipeError: if a limit is not above 0.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        check_fields(
            self, "calls", "tokens", minimum=1, integer=True, optional=True, error=RecipeError
        )
        check_fields(self, "usd", "seconds", above=0, optional=True, error=RecipeError)

    @staticmethod
    def parse(text: str) -> Budget:
        """Parse a budget such as `calls=2000,usd=1`.

        Raises:
            RecipeError: if the text has another form, or a limit is not above 0.
        """
        known = {item.name for item in fields(Budget)}
        values: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            try:
                number = float(value) if name in ("usd", "seconds") else int(value)
            except ValueError:
                number = None
            if name not in known or number is None:
                raise RecipeError(
                    f"budget {text!r}: cannot read {part!r}: write limits as in "
                    f"calls=2000,usd=1.5; the names are {', '.join(sorted(known))}"
                )
            values[name] = number
        return Budget(**values)

    @property
    def limits_spend(self) -> bool:
        """Whether it limits calls, tokens or money, and so counts on worst cases."""
        return any(limit is not None for limit in (self.calls, self.tokens, self.usd))

    @property
    def limits_size(self) -> bool:
        """Whether it limits tokens or money, and so counts on the size of a call."""
        return self.tokens is not None or self.usd is not None

    def to_json(self) -> dict[str, float | None]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __str__(self) -> str:
        given = [f"{name}={value:g}" for name, value in self.to_json().items() if value is not None]
        return ",".join(given) or "none"


_NOTHING = Spend()


class Ledger:
    """What one compile has spent and reserved, checked against its budget.

    The compile starts when the ledger is made; `clock` returns the time in seconds.

    Attributes:
        program_runs: the runs of programs that have ended.
    """

    def __init__(self, budget: Budget, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self.clock = clock
        self.account = Account()
        self.program_runs = 0
        # Spend as the budget counts it: at full price, without prefix-cache discounts.
        self._charged = Spend()
        self._withheld = Spend()
        self._withheld_seconds = 0.0
        self._withheld_for = ""
        self._reserved = Spend()
        self._uncounted = 0  # calls whose tokens the server did not count
        self._runs = 0
        self._changed = asyncio.Event()
        self._started = clock()

    @property
    def elapsed(self) -> float:
        """The wall time since the start of the compile, in seconds."""
        return self.clock() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Return the wall time left, in seconds, without what is withheld; None if unlimited."""
        if self.budget.seconds is None:
            return None
        return self.budget.seconds - self._withheld_seconds - self.elapsed

    @property
    def total(self) -> Spend:
        """The spend of all roles together."""
        return self.account.total

    def withhold(self, worst: Spend, purpose: str) -> None:
        """Withhold a later phase's worst case, but at most half of the budget.

        `purpose` names the phase in messages, such as `the final test`.
        """
        capped = {
            name: min(value, cap / 2 if name == "usd" else cap // 2)
            for name, cap, value in self._limits(worst)
        }
        self._withheld = replace(worst, **capped)
        self._withheld_for = purpose

    def withhold_seconds(self, seconds: float) -> None:
        """Withhold wall time for the same phase, but at most half of the budget.

        It holds for steps that start later; once all is released, it has no effect.
        """
        if self.budget.seconds is not None and self._withheld_for:
            self._withheld_seconds = min(seconds, self.budget.seconds / 2)

    def release(self) -> None:
        """Release what was withheld, for the phase that it was withheld for."""
        self._withheld = Spend()
        self._withheld_seconds = 0.0
        self._withheld_for = ""

    def room(self, worst: Spend) -> int | None:
        """Count the runs with this worst case that still fit; None if the budget limits none."""
        spent, room = self._charged, []
        for name, cap, each in self._limits(worst):
            if each > 0:
                room.append(max(0, int(_rounded((cap - getattr(spent, name)) / each))))
        return min(room, default=None)

    def remaining(self) -> dict[str, float]:
        """Return what is left of each limit, without what is withheld.

        Requests that were sent again do not count, so it is the same when a compile is resumed.
        """
        spent = self.total + self._withheld
        left = {name: max(0.0, cap - value) for name, cap, value in self._limits(spent)}
        if (seconds := self.seconds_left) is not None:
            left["seconds"] = max(0.0, seconds)
        return left

    async def admit(self, worst: Spend, *, keep: Spend = _NOTHING) -> None:
        """Wait until a run's worst case fits, then reserve it.

        `keep` is what has to fit beside it, for what comes after.

        Raises:
            BudgetExhaustedError: if it does not fit with nothing in flight, or the time is over.
        """
        while problem := self.shortfall(worst + keep):
            if not self._runs:
                raise BudgetExhaustedError(problem)
            self._changed.clear()
            await self._changed.wait()
        if (left := self.seconds_left) is not None and left <= 0:
            raise self._time_is_over()
        self._reserved += worst
        self._runs += 1

    def settle(self, worst: Spend, calls: Sequence[Call]) -> None:
        """Replace a run's reservation, its worst case, by what its LM calls spent.

        Raises:
            RecipeError: if the run took more tokens or money than reserved, because an LM takes
                longer prompts than its `context` says; or if the budget limits money and a price
                is unknown.
        """
        tokens = sum(call.reply.usage.tokens for call in calls)
        actual = Spend(len(calls), tokens, full_price(calls))
        self.account.add(calls)
        self._charged += replace(actual, usd=actual.usd or 0.0) + spend_on_resent(calls)
        self._charged += self._charge_uncounted(worst, calls)
        self._reserved += worst * -1
        self._runs -= 1
        self._changed.set()
        if self.budget.usd is not None and actual.usd is None:
            lm = next(call.lm for call in calls if call.price is None)
            raise RecipeError(
                f"the budget is in dollars, but the price of {lm} is unknown: set it with "
                "LM(…, price=(dollars per million prompt tokens, per million completion tokens))"
            )
        for name in ("tokens", "usd"):
            taken, reserved = getattr(actual, name), getattr(worst, name)
            if getattr(self.budget, name) is not None and _rounded(taken) > _rounded(reserved):
                raise RecipeError(
                    f"{actual.calls} LM calls took {taken:g} {name}, more than the {reserved:g} "
                    "that were reserved: set the LM's true context with LM(…, context=…); if the "
                    "metric asks an LM, name that LM as the recipe's judge"
                )

    def _charge_uncounted(self, worst: Spend, calls: Sequence[Call]) -> Spend:
        """Return the maximum of the calls without tokens: no limit would ever end them."""
        uncounted = [call for call in calls if not call.reply.usage.tokens]
        if not uncounted or not worst.calls:
            return Spend()
        self._uncounted += len(uncounted)
        each = Spend(0, worst.tokens // worst.calls, (worst.usd or 0.0) / worst.calls)
        return each * sum(1 + call.resent for call in uncounted)

    def shortfall(self, worst: Spend) -> str:
        """Say why the next spend, with this worst case, does not fit; empty if it does."""
        planned = self._charged + self._withheld + self._reserved + worst
        for name, cap, value in self._limits(planned):
            if _rounded(value) <= cap:
                continue
            spent, withheld, needed = (
                _rounded(getattr(spend, name))
                for spend in (self._charged + self._reserved, self._withheld, worst)
            )
            shown = dollars(spent) if name == "usd" else f"{spent:,.0f}"
            parts = [f"{shown} of {_amount(name, cap)} are spent"]
            if withheld:
                parts.append(f"{_amount(name, withheld)} are withheld for {self._withheld_for}")
            if self._uncounted and name != "calls":
                number = plural(self._uncounted, "call")
                parts.append(
                    f"{number} without a count of tokens by the server are counted as their maximum"
                )
            return (
                f"the budget ({self.budget}) is used up: {', '.join(parts)}, and the next step "
                f"may need {_amount(name, needed)}"
            )
        return ""

    async def within_time(self, running: Awaitable[T]) -> T:
        """Wait for a result, or raise a BudgetExhaustedError when the wall time is over."""
        return await within(self.seconds_left, running, late=self._time_is_over)

    def _time_is_over(self) -> BudgetExhaustedError:
        why = "time is over"
        if self._withheld_seconds:
            why = f"the last {self._withheld_seconds:.3g} s are withheld for {self._withheld_for}"
        return BudgetExhaustedError(f"the budget ({self.budget}) is used up: {why}")

    def _limits(self, spend: Spend) -> Iterator[tuple[str, Any, Any]]:
        """Yield the name of each limit but time, the limit, and what a spend has of it."""
        for name in ("calls", "tokens", "usd"):
            if (cap := getattr(self.budget, name)) is not None:
                yield name, cap, getattr(spend, name)


def _rounded(value: float) -> float:
    """Drop the last bits of a sum of money: they depend on the order of the additions."""
    return round(value, 9)


def _amount(limit: str, value: float) -> str:
    """Write an amount of what a limit counts: `1,200 tokens`, `$0.5000`."""
    return dollars(value) if limit == "usd" else f"{value:,.0f} {limit}"


@dataclass(frozen=True)
class RunAdmission:
    """The ledger as an evaluation sees it: every run has the same worst case."""

    ledger: Ledger
    worst: Spend

    async def admit(self) -> None:
        await self.ledger.admit(self.worst)

    def settle(self, calls: Sequence[Call]) -> None:
        self.ledger.settle(self.worst, calls)
        self.ledger.program_runs += 1
