"""Records in cassettes: results other than LM replies."""

from __future__ import annotations

from pathlib import Path

import pytest

import lmpipe
from lmpipe.errors import CassetteError, CassetteMissError
from lmpipe.lm.cassettes.cassette import Cassette
from lmpipe.lm.cassettes.layered_store import LayeredStore
from lmpipe.lm.message import Message
from lmpipe.lm.request import Reply, Request

SUBJECT = {"rows": "ab", "settings": {"rank": 16}}
VALUE = {"sha256": "cd"}
REQUEST = Request(lmpipe.LM("vllm/small"), (Message("user", "hello"),))


def record(path: Path) -> None:
    with Cassette(path, mode="rewrite") as tape:
        assert tape.get_record("training", SUBJECT) is None
        tape.put_record("training", SUBJECT, VALUE)


def test_a_record_is_replayed(tmp_path: Path) -> None:
    record(tmp_path / "tape.jsonl")
    with Cassette(tmp_path / "tape.jsonl") as tape:
        assert tape.get_record("training", SUBJECT) == VALUE


def test_a_record_is_not_a_call(tmp_path: Path) -> None:
    record(tmp_path / "tape.jsonl")
    with Cassette(tmp_path / "tape.jsonl") as tape:
        assert (tape.played, tape.unplayed) == ((), ())
        with pytest.raises(CassetteMissError):
            tape.get("key", REQUEST)


def test_a_missing_record_shows_the_difference_to_the_most_similar_one(tmp_path: Path) -> None:
    record(tmp_path / "tape.jsonl")
    with Cassette(tmp_path / "tape.jsonl", remedy="record it") as tape:
        with pytest.raises(CassetteMissError) as caught:
            tape.get_record("training", {"rows": "ab", "settings": {"rank": 8}})
        assert tape.misses == [caught.value]
    message = str(caught.value)
    assert "tape.jsonl has no record of this training" in message
    assert "settings.rank [-16-] {+8+}" in message
    assert "rows" not in message
    assert message.endswith("record it")


def test_a_record_that_nothing_asked_for_fails_the_check(tmp_path: Path) -> None:
    record(tmp_path / "tape.jsonl")
    with Cassette(tmp_path / "tape.jsonl") as tape:
        tape.check(allow_unplayed=True)
        with pytest.raises(CassetteError, match=r"1 of its 1 records \(training\) were not used"):
            tape.check()


def test_new_records_join_old_ones_and_calls(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    record(path)
    other = {"rows": "ef"}
    with Cassette(path, mode="new_episodes") as tape:
        assert tape.get("key", REQUEST) is None
        tape.put("key", REQUEST, Reply("hi"))
        assert tape.get_record("training", other) is None
        assert not tape.answered
        tape.put_record("training", other, VALUE)
        assert tape.answered
    with Cassette(path) as tape:
        assert tape.get_record("training", SUBJECT) == VALUE
        assert tape.get_record("training", other) == VALUE
        assert tape.get("key", REQUEST) == Reply("hi", cached=True)
        tape.check()


def test_a_rewrite_drops_records_that_nothing_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    record(path)
    with Cassette(path, mode="rewrite") as tape:
        tape.put_record("training", {"rows": "ef"}, VALUE)
    with Cassette(path) as tape, pytest.raises(CassetteMissError):
        tape.get_record("training", SUBJECT)


def test_mode_all_makes_records_again(tmp_path: Path) -> None:
    record(tmp_path / "tape.jsonl")
    with Cassette(tmp_path / "tape.jsonl", mode="all") as tape:
        assert tape.get_record("training", SUBJECT) is None
        tape.put_record("training", SUBJECT, {"sha256": "ef"})
    with Cassette(tmp_path / "tape.jsonl") as tape:
        assert tape.get_record("training", SUBJECT) == {"sha256": "ef"}


def test_an_interrupted_recording_resumes_with_its_records(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    tape = Cassette(path, mode="rewrite")
    tape.put_record("training", SUBJECT, VALUE)
    tape.abandon()
    with Cassette(path, mode="rewrite") as again:
        assert again.get_record("training", SUBJECT) == VALUE


def test_a_layered_store_passes_records_to_its_cassette(tmp_path: Path) -> None:
    record(tmp_path / "tape.jsonl")
    with Cassette(tmp_path / "tape.jsonl") as tape:
        assert LayeredStore(tape, None).get_record("training", SUBJECT) == VALUE


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    subjects = [{"rows": "a"}, {"rows": "b"}]
    for path, order in zip(files, (subjects, subjects[::-1]), strict=True):
        with Cassette(path, mode="rewrite") as tape:
            for subject in order:
                tape.put_record("training", subject, VALUE)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("line", ['{"record":1,"subject":{},"value":{}}', '{"record":"training"}'])
def test_a_damaged_record_is_an_error_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tape.jsonl"
    path.write_text('{"cassette":1}\n' + line + "\n")
    with pytest.raises(CassetteError, match=r"tape.jsonl:2: this line of the cassette is damaged"):
        Cassette(path)


def test_two_values_for_one_record_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "tape.jsonl"
    record(path)
    line = path.read_bytes().splitlines()[-1]
    path.write_bytes(path.read_bytes() + line.replace(b"cd", b"ef") + b"\n")
    with pytest.raises(CassetteError, match="another value for the same record"):
        Cassette(path)
