"""`AnswerStore`: the last answers, in memory or on disk, and no more of them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from lmpipe.errors import StorageError
from lmpipe.monitoring.answers import ANSWERS, AnswerStore, ServedAnswer


def answer(name: str, text: str = "a") -> ServedAnswer:
    return ServedAnswer(name, "route", "run-a", {"message": text}, {"team": "billing"})


def test_an_answer_is_found_before_and_after_it_is_written(tmp_path: Path) -> None:
    with closing(AnswerStore(tmp_path)) as store:
        store.add(answer("one"))
        assert store.find("one") == answer("one")
        store.flush()
        assert store.find("one") == answer("one")
        assert store.find("two") is None


def test_another_process_finds_what_was_written(tmp_path: Path) -> None:
    with closing(AnswerStore(tmp_path)) as store:
        store.add(answer("one"))
    with closing(AnswerStore(tmp_path)) as store:
        assert store.find("one") == answer("one")


def test_only_the_last_answers_are_kept(tmp_path: Path) -> None:
    with closing(AnswerStore(tmp_path, keep=3)) as store:
        for number in range(5):
            store.add(answer(str(number)))
            store.flush()
        known = [number for number in range(5) if store.find(str(number))]
    assert known == [2, 3, 4]


def test_the_last_answer_of_an_id_counts(tmp_path: Path) -> None:
    with closing(AnswerStore(tmp_path)) as store:
        for text in ("first", "second"):
            store.add(answer("one", text))
            store.flush()
        assert store.find("one") == answer("one", "second")


def test_many_answers_do_not_wait_for_a_flush(tmp_path: Path) -> None:
    with closing(AnswerStore(tmp_path)) as store, closing(AnswerStore(tmp_path)) as other:
        for number in range(500):
            store.add(answer(str(number)))
        assert other.find("0") is not None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ANSWERS).write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match=ANSWERS):
        AnswerStore(tmp_path)


def test_large_answers_are_kept_in_smaller_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmpipe.monitoring.answers._LARGEST", 1_000_000)
    with closing(AnswerStore(tmp_path)) as store:
        for number in range(60):
            store.add(answer(str(number), "a" * 50_000))
            store.flush()
        known = [number for number in range(60) if store.find(str(number))]
    assert 10 <= len(known) <= 25
    assert known[-1] == 59
