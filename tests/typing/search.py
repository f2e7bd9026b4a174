"""The types that checkers must infer from searches, judges and rows. Checked, never run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_type

from pydantic import JsonValue

import lmpipe
from lmpipe.metrics import Agreement, SemanticF1, agreement
from lmpipe.optimize import NeededRows, RowRule, Sizes
from lmpipe.retrieval import FaissIndex, Fusion


class AnswerAndCite(lmpipe.Cited):
    """Answer from the passages."""

    passages: list[lmpipe.Passage] = lmpipe.Input()
    question: str = lmpipe.Input()
    answer: str = lmpipe.Output()
    citations: list[lmpipe.Citation] = lmpipe.Output()


class Ask(lmpipe.Module):
    def __init__(self, retriever: lmpipe.Retriever) -> None:
        self.retrieve = lmpipe.Retrieve(retriever, k=2)
        self.answer = lmpipe.Predict(AnswerAndCite)

    def forward(self, question: str) -> AnswerAndCite:
        return self.answer(passages=self.retrieve(question), question=question)


class Sync:
    def search(self, queries: Sequence[str], /, *, k: int) -> list[list[lmpipe.Passage]]:
        return [[] for _ in queries]


class Async:
    async def search(self, queries: Sequence[str], /, *, k: int) -> list[list[lmpipe.Passage]]:
        return [[] for _ in queries]


def look(query: str, k: int) -> list[str]:
    return [query] * k


async def look_async(query: str, k: int) -> list[dict[str, JsonValue]]:
    return [{"text": query, "page": k}]


def retrievers(index: Any) -> None:
    words = lmpipe.BM25(["x", lmpipe.Document(text="y"), {"text": "z", "page": 1}])
    vectors = lmpipe.Embeddings.of(Path("corpus.jsonl"), embedder="openai/text-embedding-3-small")
    faiss = FaissIndex.from_index(index, ["x"])
    Fusion([words, vectors, faiss, Sync(), Async(), look, look_async])
    for retriever in (words, vectors, faiss, Sync(), Async()):
        assert_type(Ask(retriever)(question="x").citations, list[lmpipe.Citation])
    assert_type(lmpipe.Retrieve(look)("x"), list[lmpipe.Passage])
    assert_type(lmpipe.Retrieve(look_async)("x", k=1)[0].score, float)
    assert_type(lmpipe.BM25.load("index").search(["x"], k=1), list[list[lmpipe.Passage]])
    assert_type(lmpipe.Embeddings.load("vectors"), lmpipe.Embeddings)


async def searches() -> None:
    retrieve = lmpipe.Retrieve(Sync())
    assert_type(await retrieve.acall("x"), list[lmpipe.Passage])
    assert_type(retrieve.many(["x"]), list[list[lmpipe.Passage]])
    assert_type(await retrieve.amany(["x"], k=1), list[list[lmpipe.Passage]])
    assert_type(retrieve.batch([{"query": "x"}]), list[list[lmpipe.Passage]])
    assert_type(retrieve("x")[0].metadata["page"], JsonValue)


def rows(rule: RowRule) -> None:
    lmpipe.BootstrapFinetune(rows=5, select="need")
    lmpipe.BootstrapFinetune(rows=5, select=NeededRows(eta=2))
    lmpipe.Distill(rows=5, select=rule)
    assert_type(rule.cost(Sizes(1, 1)), lmpipe.Cost)


async def judges(example: lmpipe.Example, run: lmpipe.Run) -> None:
    judge = lmpipe.Judge(
        AnswerAndCite,
        inputs={"question": "example.question", "passages": lambda example, prediction: []},
        verdict="answer",
        points={"x": 1},
    )
    assert_type(judge(example, "x"), lmpipe.Score)
    assert_type(await judge.acall(example, "x"), lmpipe.Score)
    assert_type(judge.with_program(run.program), lmpipe.Judge)
    assert_type(judge.labelled(example, "x", verdict="good"), lmpipe.Example)
    assert_type(lmpipe.Judge.by_rubric("x", inputs={"x": "prediction"}), lmpipe.Judge)
    evaluation = lmpipe.evaluate(judge.program, [example], agreement("verdict"))
    assert_type(Agreement.of(evaluation.rows).kappa, float)
    lmpipe.evaluate(Ask(Sync()), [example], SemanticF1("answer"))
    lmpipe.Recipe(program=Ask(Sync()), train=[example], metric=judge)
