"""The servers that answer for one LM: which of them is asked, and which is away.

Like `throttle`, plain state that is told the time, in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from lmpipe.lm.lm import without_password
from lmpipe.lm.providers.base import Provider
from lmpipe.lm.request import Request
from lmpipe.lm.traffic.throttle import Throttle

COOL_DOWN = 1.0  # seconds for which a server that went away is not asked; doubles each time
MAX_COOL_DOWN = 60.0

# A server may be given this many times the mean load for the sake of its prefix cache, and
# always this many requests.
_OVERLOAD = 1.25
_ALWAYS = 4

_MOST_REMEMBERED = 256  # orders of replicas, by prefix


@dataclass(eq=False, slots=True)
class Replica:
    """One server that answers for an LM.

    Args:
        address: where it is, up to and including `/v1`; empty where it needs none.
        provider: how it is asked.
        throttle: how much it may be asked.

    Attributes:
        away: since when nothing has come from it, as the number of vain tries; 0 while it answers.
        until: when it may be tried again.
        probes: requests that are trying whether it is back.
        losses: how often it was found to be away.
    """

    address: str = field(repr=False)  # there may be a password in it
    provider: Provider
    throttle: Throttle
    away: int = 0
    until: float = -inf
    probes: int = 0
    losses: int = 0

    def usable(self, now: float) -> bool:
        """Whether it answers, or it is time for one request to try whether it does."""
        return not self.away or (now >= self.until and not self.probes)

    def take(self, tokens: float, now: float) -> Lease:
        """Send a request that is guessed to take so many tokens."""
        self.throttle.enter(tokens, now)
        probe = self.away > 0
        self.probes += probe
        return Lease(self, tokens, self.throttle.cuts, self.losses, probe)


@dataclass(eq=False, slots=True)
class Lease:
    """A request's place at a replica, from when it is sent until it is done.

    Args:
        replica: the replica.
        tokens: what it was guessed to take.
        cuts: the throttle's, when it was sent.
        losses: the replica's, when it was sent.
        probe: whether it tries if the replica is back.
    """

    replica: Replica
    tokens: float
    cuts: int
    losses: int
    probe: bool

    def leave(self) -> None:
        """Give the place back; once, whatever became of the request."""
        self.replica.throttle.leave()
        self.replica.probes -= self.probe

    def unused(self, now: float) -> None:
        """The request was not sent after all."""
        self.replica.throttle.unspend(self.tokens, now)

    def answered(self) -> None:
        """The server answered."""
        self.replica.away = 0
        self.replica.throttle.answered(self.cuts)

    def took(self, tokens: float, now: float) -> None:
        """The answer took so many tokens."""
        self.replica.throttle.correct(self.tokens, tokens, now)

    def overloaded(self, retry_after: float | None, now: float) -> None:
        """The server said that it has too much to do."""
        replica = self.replica
        replica.away = 0
        replica.throttle.overloaded(self.cuts, retry_after, now)
        replica.throttle.correct(self.tokens, 0.0, now)

    def broken(self, now: float) -> None:
        """The server answered, but with an error of its own."""
        self.replica.away = 0
        self.replica.throttle.correct(self.tokens, 0.0, now)

    def lost(self, now: float) -> bool:
        """Nothing usable came from the server; returns whether that is news."""
        replica = self.replica
        replica.throttle.correct(self.tokens, 0.0, now)
        if self.losses != replica.losses:
            return False  # it was sent before the server was known to be away
        replica.losses += 1
        replica.away += 1
        cool_down = min(COOL_DOWN * 2.0 ** min(replica.away - 1, 16), MAX_COOL_DOWN)
        replica.until = now + cool_down
        return replica.away == 1


@dataclass(eq=False, slots=True)
class Replicas:
    """All the servers that answer for one LM.

    Requests that begin with the same turns go to the same replica, as long as it has no more to
    do than the others: it need not compute these turns again. Each prefix has an order of replicas
    of its own (rendezvous hashing), the same in every process, so that only the requests of a
    replica that goes away move.

    Args:
        all: the replicas.
    """

    all: Sequence[Replica]
    _orders: dict[bytes, list[Replica]] = field(default_factory=dict)

    def choose(
        self, request: Request, tokens: float, tried: Collection[Replica], now: float
    ) -> Replica | float | None:
        """Choose where to send a request.

        Args:
            request: the request.
            tokens: how many tokens it is guessed to take.
            tried: the replicas that have failed it.
            now: the time.

        Returns:
            The replica; or, while none has room, the seconds until one may have, infinite where
            another request must end first; or None if it is no use to go on looking.
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
            # The last resort is whoever may be back soonest.
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
            if len(self._orders) >= _MOST_REMEMBERED:
                self._orders.clear()
            order = self._orders[prefix] = _rendezvous(prefix, self.all)
        return order


def _rendezvous(prefix: bytes, replicas: Sequence[Replica]) -> list[Replica]:
    def rank(replica: Replica) -> bytes:
        address = (without_password(replica.address) or "").encode()
        return hashlib.blake2b(prefix + address, digest_size=16).digest()

    return sorted(replicas, key=rank)
