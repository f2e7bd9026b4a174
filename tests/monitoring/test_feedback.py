"""`lmpipe.feedback` and `lmpipe.read_feedback`: from what users say to labeled examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.errors import ConfigError, DataError
from lmpipe.monitoring.answers import AnswerStore, ServedAnswer
from lmpipe.monitoring.feedback import FeedbackFolder
from lmpipe.monitoring.feedback_rows import with_feedback

OUTPUTS = {"reasoning": "it is late", "team": "billing", "order": "7"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the answers `a`, `b` and `c`."""
    with closing(FeedbackFolder(tmp_path)) as opened:
        for name in "abc":
            opened.answers.add(
                ServedAnswer(name, "tickets", "run-a", {"message": f"text of {name}"}, OUTPUTS)
            )
    return tmp_path


def labels(folder: Path, **options: Any) -> list[tuple[str, Mapping[str, Any]]]:
    rows = lmpipe.read_feedback(folder, **options)
    return [(row["message"][-1], dict(row.labels)) for row in rows]


def test_a_correction_becomes_the_label_without_the_reasoning(folder: Path) -> None:
    lmpipe.feedback("a", score=0, correction={"team": "shipping"}, folder=folder)
    assert labels(folder) == [("a", {"team": "shipping", "order": "7"})]


def test_a_good_answer_is_its_own_label(folder: Path) -> None:
    lmpipe.feedback("a", score=True, folder=folder)
    assert labels(folder) == [("a", {"team": "billing", "order": "7"})]


@pytest.mark.parametrize("score", [0, 0.5, 0.89])
def test_an_answer_that_is_not_good_is_left_out_without_a_correction(
    folder: Path, score: float
) -> None:
    lmpipe.feedback("a", score=score, folder=folder)
    assert labels(folder) == []


def test_the_last_word_on_the_same_inputs_counts(folder: Path) -> None:
    lmpipe.feedback("a", score=1, folder=folder)
    lmpipe.feedback("b", score=1, folder=folder)
    lmpipe.feedback("a", score=0, folder=folder)
    assert [name for name, _ in labels(folder)] == ["b"]


def test_the_folder_can_be_in_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMPIPE_FEEDBACK", str(folder))
    lmpipe.feedback("chatcmpl-a", score=1)
    assert len(labels(folder)) == 1


def test_a_client_may_name_its_requests_like_chat_completions(folder: Path) -> None:
    store = AnswerStore(folder)
    store.add(ServedAnswer("chatcmpl-own", "tickets", "run-a", {"message": "m"}, {"team": "x"}))
    store.close()
    lmpipe.feedback("chatcmpl-own", score=1, folder=folder)
    assert len(labels(folder)) == 1


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"score": 2}, ConfigError),
        ({}, ConfigError),
        ({"correction": "shipping"}, DataError),
        ({"correction": {"taem": "shipping"}}, DataError),
    ],
)
def test_feedback_that_says_nothing_usable_is_refused(
    folder: Path, given: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        lmpipe.feedback("a", folder=folder, **given)
    assert not (folder / "feedback.jsonl").exists()


@pytest.mark.parametrize("name", [5, None])
def test_an_id_that_is_not_a_text_is_refused(folder: Path, name: Any) -> None:
    with pytest.raises(ConfigError, match="X-Request-Id"):
        lmpipe.feedback(name, score=1, folder=folder)


def test_an_unknown_answer_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="'z'"):
        lmpipe.feedback("z", score=1, folder=folder)


def test_a_folder_without_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no answers"):
        lmpipe.feedback("a", score=1, folder=tmp_path)


def test_rows_of_several_programs_need_a_name(folder: Path) -> None:
    lmpipe.feedback("a", score=1, folder=folder)
    file = folder / "feedback.jsonl"
    row = json.loads(file.read_text())
    file.write_text("".join(json.dumps({**row, "program": p}) + "\n" for p in ("one", "two")))
    with pytest.raises(DataError, match="one, two"):
        lmpipe.read_feedback(folder)
    assert len(labels(folder, program="one")) == 1
    with pytest.raises(DataError, match="no feedback on 'three', but on one, two"):
        lmpipe.read_feedback(folder, program="three")


def test_a_file_that_was_edited_by_hand_can_be_read(folder: Path) -> None:
    lmpipe.feedback("a", score=1, folder=folder)
    file = folder / "feedback.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes() + b"\r\n  \n")
    assert len(labels(folder)) == 1


@pytest.mark.parametrize("score", [7, -1, "1"])
def test_a_score_that_cannot_be_is_named(folder: Path, score: object) -> None:
    lmpipe.feedback("a", score=1, folder=folder)
    file = folder / "feedback.jsonl"
    file.write_text(json.dumps({**json.loads(file.read_text()), "score": score}) + "\n")
    with pytest.raises(DataError, match=r"feedback\.jsonl:1.*a score from 0 to 1"):
        lmpipe.read_feedback(folder)


def test_a_damaged_line_is_named_and_a_torn_one_is_skipped(folder: Path) -> None:
    lmpipe.feedback("a", score=1, folder=folder)
    file = folder / "feedback.jsonl"
    whole = file.read_text()
    file.write_text(whole + '{"id": "b", "sc')
    assert len(labels(folder)) == 1
    file.write_text('{"id": "b"}\n' + whole)
    with pytest.raises(DataError, match=r"feedback\.jsonl:1"):
        lmpipe.read_feedback(folder)


def test_feedback_replaces_training_rows_and_leaves_out_what_is_held_out() -> None:
    def row(text: str, team: str) -> lmpipe.Example:
        return lmpipe.Example(message=text, team=team).with_inputs("message")

    rows = [row("a", "new"), row("b", "new"), row("c", "new")]
    found = with_feedback([row("a", "old"), row("z", "old")], rows, [row("b", "held out")])
    assert found == [row("z", "old"), row("a", "new"), row("c", "new")]
