"""Totals of LM calls by role, predictor and LM, independent of the order in which calls end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lmpipe.foundation.dollars import dollars
from lmpipe.foundation.plural import plural
from lmpipe.lm.call import Call
from lmpipe.lm.lm import LM
from lmpipe.lm.model_table import price_of
from lmpipe.state.usage import Usage

ROLES = ("task", "teacher", "proposer", "judge", "embedder")

# One LM call without its texts: predictor, role, LM, tokens, whether it was cached, attempts. A
# plain tuple, because every call makes one.
Charge: TypeAlias = tuple[str, str, LM, Usage, bool, int]

# Costs are added as whole trillionths of a dollar: a sum of floats would depend on the order.
_PARTS = 10**12


@dataclass(frozen=True, slots=True)
class Spend:
    """The calls, tokens and cost of LM calls, or the worst case of a plan.

    Args:
        calls: the number of LM calls, cached or not.
        usd: their cost in US dollars; None if the price of one of the LMs is unknown.
        fresh_calls: the number of calls that reached an LM; their tokens and cost follow.
        usage: the tokens by kind; zero in a worst case.
        resent: how often the requests of fresh calls were sent again, because the server had not
            answered them; a provider may count them.
    """

    calls: int = 0
    tokens: int = 0
    usd: float | None = 0.0
    fresh_calls: int = 0
    fresh_tokens: int = 0
    fresh_usd: float | None = 0.0
    usage: Usage = field(default_factory=Usage)
    resent: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.calls + other.calls,
            self.tokens + other.tokens,
            _plus(self.usd, other.usd),
            self.fresh_calls + other.fresh_calls,
            self.fresh_tokens + other.fresh_tokens,
            _plus(self.fresh_usd, other.fresh_usd),
            self.usage + other.usage,
            self.resent + other.resent,
        )

    def __str__(self) -> str:
        usage = self.usage
        prompt = f"{usage.prompt_tokens:,} prompt"
        if usage.cached_prompt_tokens:
            prompt += f" ({usage.cached_prompt_tokens:,} of them cached)"
        usd = "unknown price" if self.usd is None else dollars(self.usd)
        completion = f"{usage.completion_tokens:,} completion"
        if usage.reasoning_tokens:
            completion += f" ({usage.reasoning_tokens:,} of them reasoning)"
        return (
            f"{plural(self.calls, 'call')} ({self.fresh_calls:,} fresh), "
            f"{plural(self.tokens, 'token')}: {prompt}, {completion}; {usd}"
        )

    def __mul__(self, times: int) -> Spend:
        """Return the worst case of several plans like this one."""
        usd = None if self.usd is None else self.usd * times
        return Spend(self.calls * times, self.tokens * times, usd)

    def maximum(self, other: Spend) -> Spend:
        """Return the worst case of one plan or the other."""
        usd = None if self.usd is None or other.usd is None else max(self.usd, other.usd)
        return Spend(max(self.calls, other.calls), max(self.tokens, other.tokens), usd)

    def to_json(self) -> dict[str, float | None]:
        """Return the logical spend as JSON: cached or not, the same for the same replies."""
        return {"calls": self.calls, "tokens": self.tokens, **self.usage.to_json(), "usd": self.usd}

    def fresh_json(self) -> dict[str, float | None]:
        """Return the spend of fresh calls as JSON."""
        return {"calls": self.fresh_calls, "tokens": self.fresh_tokens, "usd": self.fresh_usd}

    @staticmethod
    def worst_case(calls: int, lms: Sequence[LM]) -> Spend:
        """Return the maximum spend of a number of calls to any of the LMs."""
        if not calls:
            return Spend()
        context = max(lm.reserved for lm in lms)
        prices = [price_of(lm) for lm in lms]
        highest = [price.highest for price in prices if price is not None]
        usd = calls * context * max(highest) / 1e6 if len(highest) == len(prices) else None
        return Spend(calls, calls * context, usd)


@dataclass(slots=True)
class _Line:
    """The totals of one role, predictor and LM."""

    calls: int = 0
    usage: Usage = field(default_factory=Usage)
    money: int = 0
    unpriced: int = 0
    fresh_calls: int = 0
    fresh_tokens: int = 0
    fresh_money: int = 0
    fresh_unpriced: int = 0
    resent: int = 0

    def add(self, usage: Usage, money: int | None, *, fresh: bool, resent: int = 0) -> None:
        self.calls += 1
        self.usage += usage
        if money is None:
            self.unpriced += 1
        else:
            self.money += money
        if fresh:
            self.fresh_calls += 1
            self.resent += resent
            self.fresh_tokens += usage.tokens
            if money is None:
                self.fresh_unpriced += 1
            else:
                self.fresh_money += money

    def merge(self, other: _Line) -> None:
        for name in _Line.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def spend(self) -> Spend:
        return Spend(
            calls=self.calls,
            tokens=self.usage.tokens,
            usd=None if self.unpriced else self.money / _PARTS,
            fresh_calls=self.fresh_calls,
            fresh_tokens=self.fresh_tokens,
            fresh_usd=None if self.fresh_unpriced else self.fresh_money / _PARTS,
            usage=self.usage,
            resent=self.resent,
        )


class Account:
    """Running totals of LM calls by role, predictor and LM."""

    def __init__(self, calls: Iterable[Call] = ()) -> None:
        self._lines: dict[tuple[str, str, str], _Line] = {}
        self._total = _Line()
        self.add(calls)

    def add(self, calls: Iterable[Call]) -> None:
        """Add calls to the totals."""
        for call in calls:
            reply, key = call.reply, (call.role, call.label, call.lm)
            self._add(key, reply.usage, call.usd, fresh=not reply.cached, resent=call.resent)

    def charge(self, charges: Iterable[Charge]) -> None:
        """Add calls of which only the charges are known."""
        for label, role, lm, usage, cached, attempts in charges:
            price = price_of(lm)
            usd = None if price is None else price.cost(usage)
            self._add((role, label, lm.model), usage, usd, fresh=not cached, resent=attempts - 1)

    def _add(
        self,
        key: tuple[str, str, str],
        usage: Usage,
        usd: float | None,
        *,
        fresh: bool,
        resent: int,
    ) -> None:
        own = self._lines.get(key)
        if own is None:
            own = self._lines[key] = _Line()
        money = None if usd is None else round(usd * _PARTS)
        for line in (own, self._total):
            line.add(usage, money, fresh=fresh, resent=resent)

    def merge(self, other: Account) -> None:
        """Add the totals of another account."""
        other._add_to(self)

    def _add_to(self, account: Account) -> None:
        for key, line in self._lines.items():
            account._lines.setdefault(key, _Line()).merge(line)
        account._total.merge(self._total)

    @property
    def total(self) -> Spend:
        """The total of all calls."""
        return self._total.spend()

    @property
    def by_role(self) -> dict[str, Spend]:
        """The totals of `task`, `teacher`, `proposer`, `judge` and `embedder`."""
        found = self._by(lambda role, predictor, lm: role)
        return {role: found[role] for role in ROLES if role in found}

    @property
    def by_predictor(self) -> dict[str, Spend]:
        """The totals by predictor path; those outside of the program begin with their role."""
        return self._by(_predictor)

    @property
    def by_lm(self) -> dict[str, Spend]:
        """The totals by model name."""
        return self._by(lambda role, predictor, lm: lm)

    def to_json(self) -> dict[str, Any]:
        """Return the logical totals as JSON: cached or not, the same for the same replies."""
        tables = {"by_role": self.by_role, "by_predictor": self.by_predictor, "by_lm": self.by_lm}
        return {
            "total": self.total.to_json(),
            **{
                name: {key: spend.to_json() for key, spend in table.items()}
                for name, table in tables.items()
            },
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Account) and self._lines == other._lines

    __hash__ = None  # type: ignore[assignment]  # accounts are mutable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.total})"

    def __str__(self) -> str:
        lines = [f"{lm}: {spend}" for lm, spend in self.by_lm.items()]
        return "\n".join(lines) or "no LM calls"

    def _by(self, group: Callable[[str, str, str], str]) -> dict[str, Spend]:
        sums: dict[str, _Line] = {}
        for key, line in sorted(self._lines.items()):
            sums.setdefault(group(*key), _Line()).merge(line)
        return {name: line.spend() for name, line in sorted(sums.items())}


def full_price(calls: Iterable[Call]) -> float | None:
    """Return the cost of calls as if no prefix cache had been used; None if unknown."""
    money = 0
    for call in calls:
        if call.price is None:
            return None
        money += round(call.price.full_cost(call.reply.usage) * _PARTS)
    return money / _PARTS


def spend_on_resent(calls: Iterable[Call]) -> Spend:
    """Return what the requests that were sent again may have cost beside their replies.

    Each is counted like the attempt that was answered. An unknown price counts as 0.
    """
    spent = Spend()
    for call in calls:
        if call.resent:
            usage = call.reply.usage
            usd = 0.0 if call.price is None else call.price.full_cost(usage)
            spent += Spend(1, usage.tokens, usd) * call.resent
    return spent


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _predictor(role: str, predictor: str, lm: str) -> str:
    name = predictor or "unnamed"
    return name if role in ("task", "teacher") else f"{role}: {name}"
