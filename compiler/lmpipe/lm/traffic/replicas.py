"""The replicas of one LM's server: which one gets a request, and which ones are away.

Like `throttle`, plain state: callers pass the current time, in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from lmpipe.foundation.redaction import public_url
from lmpipe.lm.providers.base import Provider
from lmpipe.lm.request import Request
from lmpipe.lm.traffic.throttle import Throttle

COOL_DOWN = 1.0  # seconds without requests for a server that is away; doubles each time
MAX_COOL_DOWN = 60.0  # seconds

# For the sake of its prefix cache, a server may get this many times the mean load, and at least
# this many requests.
_OVERLOAD = 1.25
_ALWAYS = 4

_MAX_ORDERS = 256  # remembered orders of replicas, by prefix


@dataclass(eq=False, slots=True)
class Replica:
    """One server of an LM."""

    address: str = field(repr=False)  # it may contain a password; empty if it needs none
    provider: Provider
    throttle: Throttle
    away: int = 0  # attempts in a row without an answer; 0 while it answers
    until: float = -inf  # the time at which it may be tried again
    probes: int = 0  # requests in flight that try whether it is back
    losses: int = 0  # the number of times that it was found to be away

    def usable(self, now: float) -> bool:
        """Whether it answers, or may be probed by one request."""
        return not self.away or (now >= self.until and not self.probes)

    def take(self, tokens: float, now: float) -> Lease:
        """Lease it for a request with an estimated number of tokens."""
        self.throttle.enter(tokens, now)
        probe = self.away > 0
        self.probes += probe
        return Lease(self, tokens, self.throttle.cuts, self.losses, probe)


@dataclass(eq=False, slots=True)
class Lease:
    """The use of a replica by one request, from when it is sent until it ends."""

    replica: Replica
    tokens: float  # estimated
    cuts: int  # the throttle's when the request was sent
    losses: int  # the replica's when the request was sent
    probe: bool  # whether the request tries if the replica is back

    def end(self) -> None:
        """End the lease; call it once, whatever the result of the request."""
        self.replica.throttle.leave()
        self.replica.probes -= self.probe

    def unused(self, now: float) -> None:
        """Note that the request was not sent."""
        self.replica.throttle.unspend(self.tokens, now)

    def answered(self) -> None:
        """Note that the server answered."""
        self.replica.away = 0
        self.replica.throttle.answered(self.cuts)

    def took(self, tokens: float, now: float) -> None:
        """Note the answer's true number of tokens."""
        self.replica.throttle.correct(self.tokens, tokens, now)

    def overloaded(self, retry_after: float | None, now: float) -> None:
        """Note that the server reported an overload."""
        replica = self.replica
        replica.away = 0
        replica.throttle.overloaded(self.cuts, retry_after, now)
        replica.throttle.correct(self.tokens, 0.0, now)

    def broken(self, now: float) -> None:
        """Note that the server answered with an error."""
        self.replica.away = 0
        self.replica.throttle.correct(self.tokens, 0.0, now)

    def lost(self, now: float) -> bool:
        """Note that the server did not answer; returns whether it counted as answering before."""
        replica = self.replica
        replica.throttle.correct(self.tokens, 0.0, now)
        if self.losses != replica.losses:
            return False  # sent before the server was found to be away
        replica.losses += 1
        replica.away += 1
        cool_down = min(COOL_DOWN * 2.0 ** min(replica.away - 1, 16), MAX_COOL_DOWN)
        replica.until = now + cool_down
        return replica.away == 1


@dataclass(eq=False, slots=True)
class Replicas:
    """All replicas of one LM's server.

    Requests with the same first messages go to the same replica, so that its prefix cache serves
    them, unless it has more load than the others. Rendezvous hashing gives each prefix its own
    order of replicas, the same in every process: if a replica goes away, only its requests move.
    """

    all: Sequence[Replica]
    _orders: dict[bytes, list[Replica]] = field(default_factory=dict)

    def choose(
        self, request: Request, tokens: float, tried: Collection[Replica], now: float
    ) -> Replica | float | None:
        """Choose the replica for a request that those in `tried` failed.

        Returns the replica; or, if none has room, the seconds until one may have (infinite if
        another request must end first); or None if no replica is left to try.
        """
        if len(self.all) == 1:
            if tried:
                return None
            wait = self.all[0].throttle.wait(tokens, now)
            return wait or self.all[0]
        order = self._order(request)
        left = [replica for replica in order if replica.usable(now) and replica not in tried]
        if tried:
            left = [replica for replica in left if not replica.throttle.paused(now)]
        if not left:
            # The last resort is the replica that may be back first.
            away = (replica for replica in order if replica.away and replica not in tried)
            left = sorted(away, key=lambda replica: replica.until)[:1]
            if not left:
                return None
        waits = {replica: replica.throttle.wait(tokens, now) for replica in left}
        free = [replica for replica in left if not waits[replica]]
        if not free:
            back = [replica.until - now for replica in order if replica.away]
            return min(*waits.values(), *(wait for wait in back if wait > 0), inf)
        load = sum(replica.throttle.in_flight for replica in free) + 1
        bound = max(_ALWAYS, ceil(_OVERLOAD * load / len(free)))
        return next(replica for replica in free if replica.throttle.in_flight < bound)

    def _order(self, request: Request) -> list[Replica]:
        prefix = request.affinity()
        order = self._orders.get(prefix)
        if order is None:
            if len(self._orders) >= _MAX_ORDERS:
                self._orders.clear()
            order = self._orders[prefix] = _rendezvous(prefix, self.all)
        return order


def _rendezvous(prefix: bytes, replicas: Sequence[Replica]) -> list[Replica]:
    def rank(replica: Replica) -> bytes:
        address = public_url(replica.address).encode()
        return hashlib.blake2b(prefix + address, digest_size=16).digest()

    return sorted(replicas, key=rank)
