"""Programs with checks: queries that are too long, until the LM is told so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lmpipe
from lmpipe.lm.request import Request
from lmpipe.lm.runtime import Runtime
from lmpipe.lm.traffic.retry import RetryPolicy
from lmpipe.modules.module import run_traced
from lmpipe.state.trace import Trace

LONG, SHORT, TOO_LONG = "a query of too many words", "short", "The query is too long."


def say(name: str, value: str) -> str:
    return f"## {name}\n{value}"


def asks_for_query(request: Request) -> bool:
    return "give `query`" in request.messages[0].text


def told(request: Request) -> list[str]:
    """The feedback that a request shows."""
    turns = [turn.text for turn in request.messages if turn.text.startswith("That reply")]
    return [turn.split(": ", 1)[1].split("\n")[0] for turn in turns]


def answers(request: Request) -> str:
    """Write a query that is too long until it is told so, and answer everything else."""
    if asks_for_query(request):
        return say("query", SHORT if told(request) else LONG)
    return say("answer", "yes")


def stubborn(request: Request) -> str:
    """Write queries that are too long, each of them new."""
    if asks_for_query(request):
        return say("query", f"{LONG} {len(told(request))}")
    return say("answer", "yes")


@contextmanager
def lm_says(script: Any) -> Iterator[lmpipe.ScriptedLM]:
    lm = lmpipe.ScriptedLM(script)
    with lmpipe.using(lm=lm, runtime=Runtime(retry=RetryPolicy(attempts=1))):
        yield lm


def traced(program: lmpipe.Module, **inputs: Any) -> tuple[Any, Trace]:
    """Run a program and return its result, or its error, and its trace."""
    trace = Trace()
    bound = program.bind(program.state())

    async def run() -> Any:
        try:
            return await run_traced(bound, inputs, trace)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error

    return asyncio.run(run()), trace


def asked(lm: lmpipe.ScriptedLM) -> list[str]:
    """The output that each request asked for."""
    return ["query" if asks_for_query(request) else "answer" for request in lm.requests]


class Search(lmpipe.Module):
    """Writes a query and answers from it; the query is checked after the answer."""

    def __init__(self) -> None:
        self.write = lmpipe.Predict("question -> query")
        self.read = lmpipe.Predict("query -> answer")

    def forward(self, question: str) -> lmpipe.Prediction:
        query = self.write(question=question)
        answer = self.read(query=query.query)
        lmpipe.check(len(query.query) < 10, TOO_LONG, of=query)
        return answer


class AsyncSearch(Search):
    async def forward(self, question: str) -> lmpipe.Prediction:  # type: ignore[override]
        query = await self.write.acall(question=question)
        answer = await self.read.acall(query=query.query)
        lmpipe.check(len(query.query) < 10, TOO_LONG, of=query)
        return answer


class Suggesting(Search):
    def forward(self, question: str) -> lmpipe.Prediction:
        query = self.write(question=question)
        lmpipe.suggest(len(query.query) < 10, TOO_LONG)
        return self.read(query=query.query)


class Inner(lmpipe.Module):
    def __init__(self) -> None:
        self.write = lmpipe.Predict("question -> query")

    def forward(self, question: str) -> lmpipe.Prediction:
        query = self.write(question=question)
        lmpipe.check(len(query.query) < 10, TOO_LONG)
        return query


class Outer(lmpipe.Module):
    def __init__(self) -> None:
        self.read = lmpipe.Predict("query -> answer")
        self.inner = Inner()

    def forward(self, question: str) -> lmpipe.Prediction:
        first = self.read(query=question)
        query = self.inner(question=question)
        lmpipe.check(query.query != SHORT, "Not this one.", of=query)
        return self.read(query=first.answer + query.query)
