"""How much one server may be asked: requests in flight, requests and tokens per minute.

Plain state without a clock or an event loop of its own: callers say what time it is, in seconds.
"""

from __future__ import annotations

from math import inf

from lmpipe.lm.lm import Limits
from lmpipe.lm.request import Request
from lmpipe.lm.traffic.retry import MAX_RETRY_AFTER
from lmpipe.lm.usage import Usage

_ENOUGH = 1e-9  # a rounding error of an allowance
_PAUSE = 0.5  # seconds for which a server that refuses a single request is left alone at first
_LONGEST_PAUSE = 30.0
_MEMORY = 64  # replies over which token counts are averaged


class Bucket:
    """An allowance per minute, spent evenly: at most one second's worth of it at once.

    Servers hold their limits over seconds too, so a minute's allowance in one burst would be
    refused. In no minute is more than the allowance spent, but for what a single step takes beyond
    one second's worth.

    Args:
        per_minute: the allowance.
    """

    def __init__(self, per_minute: float) -> None:
        self._capacity = max(per_minute / 60.0, 1.0)
        self._rate = (per_minute - self._capacity + 1.0) / 60.0
        self._level = self._capacity
        self._time = -inf

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much may be spent; what is more than fits in may when it is full."""
        short = min(amount, self._capacity) - self._refilled(now)
        return short / self._rate if short > _ENOUGH else 0.0

    def spend(self, amount: float, now: float) -> None:
        """Take so much out; a negative amount is put back."""
        self._level = min(self._refilled(now) - amount, self._capacity)

    def _refilled(self, now: float) -> float:
        if now > self._time:
            # At first it is full: infinitely long ago nothing was spent.
            self._level = min(self._level + (now - self._time) * self._rate, self._capacity)
            self._time = now
        return self._level


class TokenMeter:
    """Guesses how many tokens a request will take, by those before it."""

    def __init__(self) -> None:
        self._replies = 0
        self._characters = 4.0
        self._prompt = 1.0
        self._completion = 0.0

    def estimate(self, request: Request, samples: int = 1) -> float:
        """Tokens of the prompt and of so many completions."""
        completion = self._completion if self._replies else request.lm.max_tokens
        per_character = self._prompt / max(self._characters, 1.0)
        return _characters(request) * per_character + completion * samples

    def learn(self, request: Request, usage: Usage, samples: int = 1) -> None:
        """Take what a request really took into account."""
        self._replies += 1
        weight = 1.0 / min(self._replies, _MEMORY)
        self._characters += weight * (_characters(request) - self._characters)
        self._prompt += weight * (usage.prompt_tokens - self._prompt)
        self._completion += weight * (usage.completion_tokens / samples - self._completion)


def _characters(request: Request) -> int:
    return sum(len(message.content) for message in request.messages)


class Throttle:
    """What one server may be asked now.

    A server that says that it is overloaded is asked half as much at once from then on; each
    time that as many requests as are allowed at once were answered, it is asked one more. One that
    refuses even single requests is left alone, longer each time.

    Args:
        limits: the limits that hold for it.
        in_flight: requests in flight at a time where `limits` says nothing.

    Attributes:
        in_flight: requests on their way.
        allowed: requests that may be in flight at a time, for now.
        cuts: how often that was cut.
    """

    def __init__(self, limits: Limits, in_flight: int) -> None:
        self.in_flight = 0
        self.cuts = 0
        self._most = self.allowed = limits.in_flight or in_flight
        self._answered = 0  # since `allowed` changed
        self._refusals = 0  # of single requests, since the last answer
        self._paused_until = -inf
        self._requests = Bucket(limits.rpm) if limits.rpm is not None else None
        self._tokens = Bucket(limits.tpm) if limits.tpm is not None else None
        self._timed = limits.rpm is not None or limits.tpm is not None

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a request may be sent; infinite until another one ends."""
        if self.in_flight >= self.allowed:
            return inf
        if not self._timed:  # what nearly every request meets
            return 0.0
        wait = self._paused_until - now
        self._timed = wait > 0 or self._requests is not None or self._tokens is not None
        if self._requests is not None:
            wait = max(wait, self._requests.wait(1.0, now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(tokens, now))
        return max(wait, 0.0)

    def paused(self, now: float) -> bool:
        """Whether the server asked to be left alone for now."""
        return now < self._paused_until

    def enter(self, tokens: float, now: float) -> None:
        """A request that is guessed to take so many tokens is sent."""
        self.in_flight += 1
        if not self._timed:
            return
        if self._requests is not None:
            self._requests.spend(1.0, now)
        if self._tokens is not None:
            self._tokens.spend(tokens, now)

    def leave(self) -> None:
        """A request is on its way no more."""
        self.in_flight -= 1

    def unspend(self, tokens: float, now: float) -> None:
        """A request that was to be sent was not."""
        if self._requests is not None:
            self._requests.spend(-1.0, now)
        self.correct(tokens, 0.0, now)

    def correct(self, guessed: float, tokens: float, now: float) -> None:
        """A request took other tokens than were guessed."""
        if self._tokens is not None:
            self._tokens.spend(tokens - guessed, now)

    def answered(self, cuts: int) -> None:
        """A request was answered well.

        Args:
            cuts: `cuts` as they were when it was sent.
        """
        if self.allowed == self._most and not self._refusals:  # what nearly every answer meets
            return
        if cuts == self.cuts:
            self._refusals = 0
            self._answered += 1
            if self._answered >= self.allowed < self._most:
                self._answered = 0
                self.allowed += 1

    def overloaded(self, cuts: int, retry_after: float | None, now: float) -> None:
        """The server said that it is overloaded.

        What is allowed is cut once for all requests that were sent before the last cut.

        Args:
            cuts: `cuts` as they were when the request was sent.
            retry_after: seconds in which it wants no further request.
            now: the time.
        """
        if cuts == self.cuts:
            if self.allowed == 1:
                retry_after = retry_after or min(_PAUSE * 2.0**self._refusals, _LONGEST_PAUSE)
                self._refusals = min(self._refusals + 1, 16)
            self.cuts += 1
            self.allowed, self._answered = max(self.allowed // 2, 1), 0
        if retry_after is not None:
            until = now + min(retry_after, MAX_RETRY_AFTER)
            self._paused_until = max(self._paused_until, until)
            self._timed = True
