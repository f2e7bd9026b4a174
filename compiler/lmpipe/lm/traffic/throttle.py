"""Limits for one server: requests in flight, requests per minute, tokens per minute.

Plain state without a clock or an event loop: callers pass the current time, in seconds.
"""

from __future__ import annotations

from math import inf

from lmpipe.lm.lm import DEFAULT_MAX_TOKENS, Limits
from lmpipe.lm.request import Request
from lmpipe.lm.traffic.retry import MAX_RETRY_AFTER
from lmpipe.state.usage import Usage

_ENOUGH = 1e-9  # a rounding error
_PAUSE = 0.5  # seconds; the first pause for a server that refuses a single request
_LONGEST_PAUSE = 30.0  # seconds
_MEMORY = 64  # replies over which token counts are averaged


class Bucket:
    """A token bucket that holds one second's worth of a limit per minute.

    Servers enforce their limits over seconds too: they would refuse a minute's allowance in one
    burst. No minute exceeds the limit, except by the size of a single amount that is larger than
    one second's worth.
    """

    def __init__(self, per_minute: float) -> None:
        self._capacity = max(per_minute / 60.0, 1.0)
        self._rate = (per_minute - self._capacity + 1.0) / 60.0
        self._level = self._capacity
        self._time = -inf

    def wait(self, amount: float, now: float) -> float:
        """Seconds until an amount may be spent; one that is too large waits for a full bucket."""
        short = min(amount, self._capacity) - self._refilled(now)
        return short / self._rate if short > _ENOUGH else 0.0

    def spend(self, amount: float, now: float) -> None:
        """Take an amount out; a negative amount is put back."""
        self._level = min(self._refilled(now) - amount, self._capacity)

    def _refilled(self, now: float) -> float:
        if now > self._time:
            # The first time is -inf, so that the bucket starts full.
            self._level = min(self._level + (now - self._time) * self._rate, self._capacity)
            self._time = now
        return self._level


class TokenMeter:
    """Estimates the tokens of a request from the requests before it."""

    def __init__(self) -> None:
        self._replies = 0
        self._characters = 4.0
        self._prompt = 1.0
        self._completion = 0.0

    def estimate(self, request: Request, samples: int = 1) -> float:
        """Estimate the tokens of the prompt and of the completions."""
        limit = request.lm.reply_limit
        unknown = limit[1] if limit else DEFAULT_MAX_TOKENS
        completion = self._completion if self._replies else unknown
        per_character = self._prompt / max(self._characters, 1.0)
        return _characters(request) * per_character + completion * samples

    def learn(self, request: Request, usage: Usage, samples: int = 1) -> None:
        """Learn from the usage of a request."""
        self._replies += 1
        weight = 1.0 / min(self._replies, _MEMORY)
        self._characters += weight * (_characters(request) - self._characters)
        self._prompt += weight * (usage.prompt_tokens - self._prompt)
        self._completion += weight * (usage.completion_tokens / samples - self._completion)


def _characters(request: Request) -> int:
    return sum(len(message.text) for message in request.messages)


class Throttle:
    """Admits requests to one server, and adapts to what the server can take.

    When the server reports an overload, the number of requests in flight is halved. It grows by
    one after as many answers as requests are allowed. If the server refuses even single requests,
    it is paused, longer each time.
    """

    def __init__(self, limits: Limits, in_flight: int) -> None:
        self.in_flight = 0
        self.cuts = 0  # the number of times that `allowed` was halved
        # The number of requests that may be in flight, at most and now.
        self._maximum = self.allowed = limits.in_flight or in_flight
        self._answered = 0  # since `allowed` changed
        self._refusals = 0  # of single requests, since the last answer
        self._paused_until = -inf
        self._requests = Bucket(limits.rpm) if limits.rpm is not None else None
        self._tokens = Bucket(limits.tpm) if limits.tpm is not None else None
        self._timed = limits.rpm is not None or limits.tpm is not None

    def wait(self, tokens: float, now: float) -> float:
        """Seconds until a request may be sent; infinite if another one must end first."""
        if self.in_flight >= self.allowed:
            return inf
        if not self._timed:  # nearly always
            return 0.0
        wait = self._paused_until - now
        self._timed = wait > 0 or self._requests is not None or self._tokens is not None
        if self._requests is not None:
            wait = max(wait, self._requests.wait(1.0, now))
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait(tokens, now))
        return max(wait, 0.0)

    def paused(self, now: float) -> bool:
        """Whether the server is paused."""
        return now < self._paused_until

    def enter(self, tokens: float, now: float) -> None:
        """Count a request that is sent, with its estimated tokens."""
        self.in_flight += 1
        if not self._timed:
            return
        if self._requests is not None:
            self._requests.spend(1.0, now)
        if self._tokens is not None:
            self._tokens.spend(tokens, now)

    def leave(self) -> None:
        """Count a request that has ended."""
        self.in_flight -= 1

    def unspend(self, tokens: float, now: float) -> None:
        """Return the allowance of a request that was not sent."""
        if self._requests is not None:
            self._requests.spend(-1.0, now)
        self.correct(tokens, 0.0, now)

    def correct(self, estimated: float, tokens: float, now: float) -> None:
        """Replace the estimated tokens of a request by its true tokens."""
        if self._tokens is not None:
            self._tokens.spend(tokens - estimated, now)

    def answered(self, cuts: int) -> None:
        """Note the answer to a request; `cuts` is that of when it was sent."""
        if self.allowed == self._maximum and not self._refusals:  # nearly always
            return
        if cuts == self.cuts:
            self._refusals = 0
            self._answered += 1
            if self._answered >= self.allowed < self._maximum:
                self._answered = 0
                self.allowed += 1

    def overloaded(self, cuts: int, retry_after: float | None, now: float) -> None:
        """Note that the server reported an overload, and asks for a pause of `retry_after` seconds.

        Requests that were sent before the last cut do not cause another one.
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
