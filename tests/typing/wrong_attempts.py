# ruff: noqa: B018
"""Mistakes with attempts and edited signatures: the lines marked `# E`. Checked, never run."""

from __future__ import annotations

from typing import Any

import lmpipe


class WriteQuery(lmpipe.Signature):
    """Write a search query."""

    question: str = lmpipe.Input()
    query: str = lmpipe.Output()


class Query(lmpipe.Module):
    def __init__(self) -> None:
        self.query = lmpipe.ChainOfThought(WriteQuery)

    def forward(self, question: str) -> WriteQuery:
        return self.query(question=question)


def reward(inputs: Any, prediction: WriteQuery) -> float:
    return 1.0


def of_numbers(inputs: Any, prediction: int) -> float:
    return 1.0


def without_result(inputs: Any, prediction: WriteQuery) -> None:
    pass


def attempts() -> None:
    best = lmpipe.BestOfN(Query(), n=3, reward=reward)
    best(qestion="x")  # E
    best("x").qery  # E
    best.batch([{"question": "x"}])[0].qery  # E
    lmpipe.BestOfN(Query(), n=3)  # E
    lmpipe.BestOfN(Query(), n=3, reward=of_numbers)  # E
    lmpipe.BestOfN(Query(), n=3, reward=without_result)  # E
    lmpipe.BestOfN(Query(), n="3", reward=reward)  # E
    lmpipe.Refine(Query(), n=3, reward=reward, threshold="high")  # E
    lmpipe.Refine(Query(), n=3, reward=reward)(5)  # E
    lmpipe.SelfConsistency(Query(), n=3)("x").qery  # E
    lmpipe.SelfConsistency(Query(), n=3, field=3)  # E
    lmpipe.MultiChainComparison(WriteQuery)(qestion="x")  # E
    lmpipe.MultiChainComparison(WriteQuery)(question="x").qery  # E
    lmpipe.majority([1, 2], field=3)  # E


async def attempts_awaited() -> None:
    await lmpipe.BestOfN(Query(), n=3, reward=reward).acall(5)  # E
    (await lmpipe.SelfConsistency(Query(), n=3).acall("x")).qery  # E


def kept_errors() -> None:
    Query().batch([{"question": "x"}], on_error="keep")[0].query  # E
    Query().batch([{"question": "x"}], on_error="ignore")  # E
    lmpipe.Parallel()([(Query(), {"question": "x"})])[0].query  # E
    lmpipe.Parallel()([Query()])  # E
    lmpipe.Parallel(timeout="5")  # E


def edits() -> None:
    WriteQuery.apend("why", lmpipe.Output())  # E
    WriteQuery.append(5, lmpipe.Output())  # E
    WriteQuery.insert("first", "why", lmpipe.Output())  # E
    WriteQuery.with_instruction(None)  # E
    lmpipe.Predict(WriteQuery.with_instruction("Write."))(question="x").qery  # E
    lmpipe.signature_from_dict("a -> b")  # E
