"""`Fusion`: the results of several retrievers as one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from helpers.embeddings import scripted_embedder
from helpers.passages import CORPUS, ids

import lmpipe
from lmpipe.errors import ConfigError
from lmpipe.lm.runtime import Runtime
from lmpipe.retrieval import Fusion
from lmpipe.settings import using


def finding(*names: str) -> lmpipe.Retriever:
    class Finds:
        def search(self, queries: Sequence[str], /, *, k: int) -> list[list[lmpipe.Passage]]:
            return [[lmpipe.Passage(name, id=name) for name in names][:k] for _ in queries]

    return Finds()


def test_what_both_rank_well_is_before_what_one_ranks_first() -> None:
    fusion = Fusion([finding("a", "b", "c"), finding("d", "b", "a")])
    found = lmpipe.Retrieve(fusion, k=4)("x")
    assert ids(found) == ["a", "b", "d", "c"]
    assert found[0].score == pytest.approx(1 / 61 + 1 / 63)


def test_each_query_has_its_own_ranking() -> None:
    fusion = Fusion([lmpipe.BM25(CORPUS), lmpipe.BM25(CORPUS)])
    found = lmpipe.Retrieve(fusion, k=1).many(["Tiber", "parcel"])
    assert list(map(ids, found)) == [["tiber"], ["parcel"]]


def test_words_and_embeddings_are_joined_and_counted() -> None:
    with using(lm="local", runtime=Runtime(), embedder=scripted_embedder()):
        retrieve = lmpipe.Retrieve(Fusion([lmpipe.BM25(CORPUS), lmpipe.Embeddings.of(CORPUS)]))
        assert retrieve.calls_per_run() == 1
        assert ids(retrieve("capital of Italy."))[0] == "rome"


def test_one_retriever_is_no_fusion() -> None:
    with pytest.raises(ConfigError, match="two or more retrievers, got 1"):
        Fusion([lmpipe.BM25(CORPUS)])
