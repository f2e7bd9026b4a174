"""An LM whose replies show which sample was asked for, and programs that ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.settings import using


class Guess(lmpipe.Signature):
    """Guess the number."""

    question: str = lmpipe.Input()
    number: int = lmpipe.Output()


class Guesser(lmpipe.Module):
    """A program with a sync `forward`."""

    def __init__(self) -> None:
        self.guess = lmpipe.Predict(Guess, retries=0)

    def forward(self, question: str, plus: int = 0) -> int:
        return self.guess(question=question).number + plus


class AsyncGuesser(lmpipe.Module):
    """A program with an async `forward`."""

    def __init__(self) -> None:
        self.guess = lmpipe.Predict(Guess, retries=0)

    async def forward(self, question: str) -> Guess:
        return await self.guess.acall(question=question)


def sample_numbers(request: Request) -> str:
    """Reply with the number of the sample."""
    return f"[[number]]\n{request.sample}"


@contextmanager
def replies_by_sample(*replies: str) -> Iterator[ScriptedLM]:
    """An LM that gives sample n the nth reply; without replies, the number itself."""

    def script(request: Request) -> str:
        if not replies:
            return sample_numbers(request)
        return f"[[number]]\n{replies[request.sample % len(replies)]}"

    lm = ScriptedLM(script, name=f"samples {replies}")
    with using(lm=lm, runtime=Runtime(retry=RetryPolicy(attempts=1))):
        yield lm
