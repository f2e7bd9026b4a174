"""`Embeddings`: what it finds, what it asks, and how it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.embeddings import scripted_embedder
from helpers.passages import CORPUS, ids

import lmpipe
from lmpipe.errors import ArtifactError, ConfigError
from lmpipe.lm.cache.cache import Cache
from lmpipe.lm.runtime import Runtime
from lmpipe.settings import using


async def test_it_finds_the_nearest_passages() -> None:
    with using(lm="local", runtime=Runtime()):
        index = await lmpipe.Embeddings.aof(CORPUS, embedder=scripted_embedder())
        (found,) = await index.search(["capital of Italy."], k=2)
    assert ids(found) == ["rome", "berlin"]
    assert 1 >= found[0].score > found[1].score


def test_it_embeds_the_corpus_by_few_requests_and_the_queries_by_one() -> None:
    lm = scripted_embedder()
    with using(lm="local", runtime=Runtime()):
        index = lmpipe.Embeddings.of([f"text {number}" for number in range(100)], embedder=lm)
        assert sorted(len(request.messages) for request in lm.requests) == [36, 64]
        lmpipe.Retrieve(index).many(["a", "b"])
    assert [message.text for message in lm.requests[-1].messages] == ["a", "b"]


def test_what_was_embedded_before_comes_from_the_cache(tmp_path: Path) -> None:
    lm = scripted_embedder()
    with using(lm="local", runtime=Runtime(store=Cache(tmp_path))):
        lmpipe.Embeddings.of(CORPUS, embedder=lm)
        lmpipe.Embeddings.of(CORPUS[:3], embedder=lm)
    assert len(lm.requests) == 1


def test_prefixes_stand_before_passages_and_queries() -> None:
    lm = scripted_embedder()
    with using(lm="local", runtime=Runtime()):
        index = lmpipe.Embeddings.of(
            ["one"], embedder=lm, passage_prefix="passage: ", query_prefix="query: "
        )
        lmpipe.Retrieve(index)("two")
    assert [request.messages[0].text for request in lm.requests] == ["passage: one", "query: two"]


def test_a_saved_index_finds_the_same_with_the_configured_embedder(tmp_path: Path) -> None:
    with using(lm="local", runtime=Runtime(), embedder=scripted_embedder()):
        index = lmpipe.Embeddings.of(CORPUS, query_prefix="query: ")
        index.save(tmp_path)
        loaded = lmpipe.Embeddings.load(tmp_path)
        assert lmpipe.Retrieve(loaded)("the Tiber") == lmpipe.Retrieve(index)("the Tiber")


def test_vectors_that_are_not_of_the_passages_are_refused(tmp_path: Path) -> None:
    with using(lm="local", runtime=Runtime(), embedder=scripted_embedder()):
        lmpipe.Embeddings.of(CORPUS).save(tmp_path / "one")
        lmpipe.Embeddings.of(CORPUS[:2]).save(tmp_path / "other")
    other = (tmp_path / "other" / "vectors.npy").read_bytes()
    (tmp_path / "one" / "vectors.npy").write_bytes(other)
    with pytest.raises(ArtifactError, match=r"vectors\.npy is not the file"):
        lmpipe.Embeddings.load(tmp_path / "one")


def test_another_model_may_not_embed_the_queries() -> None:
    with using(lm="local", runtime=Runtime(), embedder=scripted_embedder()):
        index = lmpipe.Embeddings.of(CORPUS)
    other = lmpipe.Embeddings(
        passages=index.passages,
        vectors=index.vectors,
        model=index.model,
        embedder=lmpipe.ScriptedLM([], name="other"),
    )
    with pytest.raises(ConfigError, match="was embedded by scripted/embedder"):
        lmpipe.Retrieve(other)("x")


def test_without_an_embedder_the_error_says_how_to_configure_one() -> None:
    with (
        using(lm="local", runtime=Runtime()),
        pytest.raises(ConfigError, match=r"lmpipe\.configure\(embedder=…\)"),
    ):
        lmpipe.Embeddings.of(CORPUS)
