"""`BM25`: what it finds, and how it is saved."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers.passages import CORPUS, ids
from hypothesis import given
from hypothesis import strategies as st

import lmpipe
from lmpipe.errors import ArtifactError, ConfigError, DataError


def test_it_finds_the_passages_that_share_words_best_first() -> None:
    (found,) = lmpipe.BM25(CORPUS).search(["the capital of Italy"], k=2)
    assert ids(found) == ["rome", "berlin"]
    assert found[0].score > found[1].score > 0


def test_passages_without_a_common_word_are_not_found() -> None:
    assert lmpipe.BM25(CORPUS).search(["Tiber", "nothing"], k=3) == [
        [lmpipe.BM25(CORPUS).search(["Tiber"], k=1)[0][0]],
        [],
    ]


def test_titles_are_searched() -> None:
    corpus = [lmpipe.Passage("It has a wall.", title="Berlin"), lmpipe.Passage("It has a river.")]
    assert ids(lmpipe.BM25(corpus).search(["berlin"], k=1)[0]) == ["0"]


def test_what_is_known_of_a_passage_is_kept() -> None:
    ((found,),) = lmpipe.BM25(CORPUS).search(["tiber"], k=1)
    assert found.metadata == {"page": 7}


def test_a_function_can_stem_the_words() -> None:
    corpus = ["many parcels", "one letter"]
    stemmed = lmpipe.BM25(corpus, words=lambda text: [word.rstrip("s") for word in text.split()])
    assert ids(stemmed.search(["parcel"], k=1)[0]) == ["0"]
    assert lmpipe.BM25(corpus).search(["parcel"], k=1) == [[]]


@pytest.mark.parametrize(("k1", "b"), [(0.0, 0.5), (1.0, 1.5)])
def test_numbers_out_of_range_are_refused(k1: float, b: float) -> None:
    with pytest.raises(ConfigError, match=r"BM25\((k1|b)="):
        lmpipe.BM25(CORPUS, k1=k1, b=b)


def test_a_saved_index_finds_the_same(tmp_path: Path) -> None:
    index = lmpipe.BM25(CORPUS, k1=1.2, b=0.3)
    index.save(tmp_path)
    loaded = lmpipe.BM25.load(tmp_path)
    queries = ["capital", "the rome parcel", "nothing"]
    assert loaded.search(queries, k=3) == index.search(queries, k=3)
    assert (loaded.k1, loaded.b) == (1.2, 0.3)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.text())
def test_any_corpus_is_saved_and_loaded(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str
) -> None:
    folder = tmp_path_factory.mktemp("index")
    try:
        index = lmpipe.BM25(texts)
    except DataError:
        return  # such as half a surrogate pair
    index.save(folder)
    assert lmpipe.BM25.load(folder).search([query], k=5) == index.search([query], k=5)


def test_a_folder_with_own_words_needs_the_function(tmp_path: Path) -> None:
    lmpipe.BM25(CORPUS, words=str.split).save(tmp_path)
    with pytest.raises(ConfigError, match="give the function"):
        lmpipe.BM25.load(tmp_path)
    (found,) = lmpipe.BM25.load(tmp_path, words=str.split).search(["Rome."], k=1)
    assert ids(found) == ["tiber"]


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    lmpipe.BM25(CORPUS).save(tmp_path)
    with (tmp_path / "passages.jsonl").open("a") as file:
        file.write('{"text": "more"}\n')
    with pytest.raises(ArtifactError, match=r"passages\.jsonl is not the file that was saved"):
        lmpipe.BM25.load(tmp_path)


def test_a_planted_pickle_is_not_loaded(tmp_path: Path) -> None:
    lmpipe.BM25(CORPUS).save(tmp_path)
    planted = tmp_path / "weights.npy"
    np.save(planted, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    head = json.loads((tmp_path / "index.json").read_text())
    from lmpipe.foundation.file_hash import file_sha256

    head["files"]["weights.npy"] = file_sha256(planted)
    (tmp_path / "index.json").write_text(json.dumps(head))
    with pytest.raises(ArtifactError, match="is damaged"):
        lmpipe.BM25.load(tmp_path)


def test_the_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    lmpipe.BM25(CORPUS).save(tmp_path)
    with pytest.raises(ArtifactError, match="expected 'embeddings'"):
        lmpipe.Embeddings.load(tmp_path)


def test_it_can_be_pickled() -> None:
    index = lmpipe.BM25(CORPUS)
    assert pickle.loads(pickle.dumps(index)).search(["rome"], k=2) == index.search(["rome"], k=2)
