"""The types of modules that attempt a program, of kept errors and of edited signatures.

Checked, never run.
"""

from __future__ import annotations

from typing import Any, assert_type

import lmpipe


class WriteQuery(lmpipe.Signature):
    """Write a search query."""

    question: str = lmpipe.Input()
    query: str = lmpipe.Output()


class Count(lmpipe.Module):
    def __init__(self) -> None:
        self.query = lmpipe.ChainOfThought(WriteQuery)

    def forward(self, question: str, *, plus: int = 0) -> int:
        return len(self.query(question=question).query) + plus


class AsyncQuery(lmpipe.Module):
    def __init__(self) -> None:
        self.query = lmpipe.Predict(WriteQuery)

    async def forward(self, question: str) -> WriteQuery:
        return await self.query.acall(question=question)


@lmpipe.predict
def shout(text: str) -> str:
    """Shout."""
    raise NotImplementedError


class Holds(lmpipe.Module):
    """An attempt that is an attribute, and a reward that is a program."""

    def __init__(self) -> None:
        self.best = lmpipe.BestOfN(Count(), n=3, reward=IsShort(), threshold=1)

    def forward(self, question: str) -> int:
        return self.best(question, plus=1)


class IsShort(lmpipe.Module):
    def forward(self, inputs: lmpipe.Example, prediction: int) -> bool:
        return prediction < 10


def short(inputs: Any, prediction: WriteQuery) -> lmpipe.Score:
    return lmpipe.Score(1 / len(prediction.query), feedback="too long")


async def short_in_time(inputs: dict[str, str], prediction: WriteQuery) -> float:
    return 1 / len(prediction.query)


def metric(example: lmpipe.Example, prediction: Any, trace: Any = None) -> bool:
    return bool(prediction)


def programs_are_attempted() -> None:
    best = lmpipe.BestOfN(Count(), n=3, reward=lambda inputs, number: number * 2)
    assert_type(best("x", plus=2), int)
    assert_type(best.batch([{"question": "x"}]), list[int])
    assert_type(lmpipe.BestOfN(AsyncQuery(), n=3, reward=short)("x"), WriteQuery)
    assert_type(
        lmpipe.BestOfN(lmpipe.Predict(WriteQuery), n=3, reward=metric)(question="x").query, str
    )
    assert_type(lmpipe.BestOfN(shout, n=2, reward=metric)("x"), str)
    assert_type(lmpipe.BestOfN(Count(), n=2, reward=lmpipe.metrics.exact_match("x"))("x"), int)
    assert_type(Holds()("x"), int)
    refined = lmpipe.Refine(AsyncQuery(), n=3, reward=short_in_time, threshold=0.5, advisor="local")
    assert_type(refined(question="x"), WriteQuery)
    assert_type(refined.bind(refined.state())("x").query, str)
    agreed = lmpipe.SelfConsistency(Count(), n=5, normalize=abs)
    assert_type(agreed("x"), int)
    assert_type(lmpipe.SelfConsistency(refined, n=2, field="query")("x"), WriteQuery)
    assert_type(lmpipe.SelfConsistency(lmpipe.Predict("a -> b"), n=2)(a="x"), lmpipe.Prediction)
    thought = lmpipe.ChainOfThought("a -> b")
    assert_type(lmpipe.BestOfN(thought, n=2, reward=metric)(a="x"), lmpipe.Prediction)


async def programs_are_attempted_in_coroutines() -> None:
    assert_type(await lmpipe.BestOfN(Count(), n=3, reward=metric).acall("x"), int)
    refined = lmpipe.Refine(AsyncQuery(), n=3, reward=short)
    assert_type(await refined.acall("x"), WriteQuery)
    assert_type(refined.stream("x").result, WriteQuery)


def chains_are_compared() -> None:
    compared = lmpipe.MultiChainComparison(WriteQuery, m=5, temperature=0.9)
    assert_type(compared(question="x"), WriteQuery)
    assert_type(compared(question="x").reasoning, str)
    assert_type(lmpipe.MultiChainComparison("a -> b")(a="x"), lmpipe.Prediction)


def predictions_are_voted_on() -> None:
    samples = lmpipe.ChainOfThought(WriteQuery).samples(5, question="x")
    assert_type(lmpipe.majority(samples, field="query"), WriteQuery)
    assert_type(lmpipe.majority(["a", "b"], normalize=str.lower), str)


def errors_are_kept() -> None:
    rows = [{"question": "x"}]
    for result in Count().batch(rows, on_error="keep", timeout=5):
        assert_type(result, int | Exception)
        if not isinstance(result, Exception):
            assert_type(result, int)
    assert_type(AsyncQuery().batch(rows, on_error="keep"), list[WriteQuery | Exception])
    assert_type(Count().batch(rows, timeout=5, on_error="raise"), list[int])


def programs_run_in_parallel(row: lmpipe.Example) -> None:
    parallel = lmpipe.Parallel(concurrency=3, timeout=5)
    assert_type(parallel([(Count(), {"question": "x"}), (Count(), row)]), list[int | Exception])
    assert_type(parallel([(AsyncQuery(), row)]), list[WriteQuery | Exception])
    queries = [lmpipe.Predict(WriteQuery) for _ in range(2)]
    assert_type(parallel([(query, row) for query in queries]), list[WriteQuery | Exception])


async def programs_run_in_parallel_in_coroutines(row: lmpipe.Example) -> None:
    assert_type(await lmpipe.Parallel().acall([(Count(), row)]), list[int | Exception])


def signatures_are_edited() -> None:
    assert_type(WriteQuery.with_instruction("Write."), type[WriteQuery])
    told = lmpipe.Predict(WriteQuery.with_instruction("Write."))
    assert_type(told(question="x").query, str)
    longer = WriteQuery.append("why", lmpipe.Output(), str).insert(0, "when", lmpipe.Input())
    assert_type(longer, type[lmpipe.Prediction])
    assert_type(longer.delete("query"), type[lmpipe.Prediction])
    assert_type(lmpipe.Predict(longer)(question="x", when="now"), lmpipe.Prediction)
    text: str = lmpipe.ChainOfThought(longer)(question="x", when="now").why
    lmpipe.Predict(WriteQuery.with_field("query", desc=text, annotation=list[str]))(question="x")
    fields = {"question": lmpipe.Input(), "count": (int, lmpipe.Output())}
    made = lmpipe.signature_from_dict(fields, instruction="Count.")
    assert_type(lmpipe.Predict(made)(question="x"), lmpipe.Prediction)
