"""Finding finished trainings: beside their weights, and in cassettes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmpipe.errors import CassetteMissError, TrainingError
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.weights.trainer import TrainingResult
from lmpipe.weights.training_store import TrainingRecord, TrainingStore

JOB: dict[str, Any] = {"model": "vllm/small", "rows": "ab", "settings": {"rank": 16}}
RESULT = TrainingResult(
    folder=Path("/weights"),
    hash="c" * 64,
    curve=((1, 2.0), (2, 1.0)),
    held_out=((2, 1.5),),
    seconds=3.0,
    base={"model": "org/small", "revision": "1"},
)
RECORD = TrainingRecord.of(RESULT, b"{}\n{}\n")


def save(store: TrainingStore, folder: Path) -> None:
    store.folder_of(JOB).mkdir(parents=True)
    rows = folder / "rows"
    rows.write_bytes(b"{}\n{}\n")
    store.save(JOB, RECORD, rows)


def test_a_saved_training_is_found(tmp_path: Path) -> None:
    store = TrainingStore(tmp_path / "weights")
    assert store.find(JOB) is None
    save(store, tmp_path)
    assert TrainingStore(tmp_path / "weights").find(JOB) == RECORD
    assert store.find({**JOB, "rows": "other"}) is None
    assert (store.folder_of(JOB) / "rows.jsonl").is_file()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sha256": "ab"}'])
def test_a_damaged_record_counts_as_missing(tmp_path: Path, content: str) -> None:
    store = TrainingStore(tmp_path / "weights")
    save(store, tmp_path)
    (store.folder_of(JOB) / "record.json").write_text(content)
    assert store.find(JOB) is None


def test_a_replay_needs_only_the_cassette(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with Cassette(path, mode="rewrite") as tape:
        save(TrainingStore(tmp_path / "weights", tape), tmp_path)
    with Cassette(path) as tape:
        assert TrainingStore(tmp_path / "elsewhere", tape).find(JOB) == RECORD
        tape.check()


def test_a_training_found_beside_its_weights_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    save(TrainingStore(tmp_path / "weights"), tmp_path)
    with Cassette(path, mode="rewrite") as tape:
        assert TrainingStore(tmp_path / "weights", tape).find(JOB) == RECORD
    with Cassette(path) as tape:
        assert TrainingStore(tmp_path / "elsewhere", tape).find(JOB) == RECORD


def test_a_replay_of_another_training_is_a_miss(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    with Cassette(path, mode="rewrite") as tape:
        save(TrainingStore(tmp_path / "weights", tape), tmp_path)
    with Cassette(path) as tape, pytest.raises(CassetteMissError, match=r"settings.rank \[-16-\]"):
        TrainingStore(tmp_path / "weights", tape).find({**JOB, "settings": {"rank": 8}})


def test_a_damaged_record_in_a_cassette_is_an_error(tmp_path: Path) -> None:
    with Cassette(tmp_path / "tape.jsonl", mode="rewrite") as tape:
        tape.put_record("training", JOB, {"sha256": "ab"})
        with pytest.raises(TrainingError, match="record it again"):
            TrainingStore(tmp_path / "weights", tape).find(JOB)
