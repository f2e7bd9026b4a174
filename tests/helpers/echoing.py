"""Small programs, and an LM whose replies show which predictor called it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.scripted import ScriptedLM
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.settings import using


def echo(request: Request) -> str:
    """Reply with the instruction and the last input, so that tests see which call it was."""
    instruction = request.messages[0].content.partition("\n")[0]
    return f"[[answer]]\n{instruction} {last_input(request)}"


def last_input(request: Request) -> str:
    """Return the value of the last input, without the reminder of the reply's form after it."""
    question = request.messages[-1].content.partition("\n\nReply with the outputs only")[0]
    return question.rpartition("\n")[2]


@contextmanager
def echoing() -> Iterator[ScriptedLM]:
    lm = ScriptedLM(echo)
    with using(lm=lm, runtime=Runtime(retry=RetryPolicy(attempts=1))):
        yield lm


def ask(name: str = "ask") -> lmpipe.Predict[..., lmpipe.Prediction]:
    return lmpipe.Predict("question -> answer", instruction=name)


class One(lmpipe.Module):
    def __init__(self, name: str = "one") -> None:
        self.ask = ask(name)

    def forward(self, question: str) -> str:
        return str(self.ask(question=question).answer)


class AsyncOne(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = ask("async")

    async def forward(self, question: str) -> str:
        return str((await self.ask.acall(question=question)).answer)


class Parent(lmpipe.Module):
    def __init__(self) -> None:
        self.ask = ask("parent")
        self.children = [Child(self), Child(self)]

    def forward(self, question: str) -> str:
        return " / ".join(child(question) for child in self.children)


class Child(lmpipe.Module):
    def __init__(self, parent: Parent) -> None:
        self.parent = parent

    def forward(self, question: str) -> str:
        return str(self.parent.ask(question=question).answer)
