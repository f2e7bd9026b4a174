"""`feedback`: what users say of served answers, as rows of a file that a compile learns from."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.data.example import jsonable
from lmpipe.errors import ConfigError, DataError
from lmpipe.foundation.canonical_json import record_json
from lmpipe.foundation.checks import check_number
from lmpipe.foundation.line_file import append_durably
from lmpipe.monitoring.answers import ANSWERS, KEPT, AnswerStore, ServedAnswer

FEEDBACK = "feedback.jsonl"
FOLDER_VARIABLE = "LMPIPE_FEEDBACK"
RESULT = "result"  # the only output of a program whose result has no fields
_CHAT = "chatcmpl-"  # the ids of chat completions begin with it


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """What was said of one answer.

    Args:
        answer: the answer, with its inputs.
        score: how good it is, from 0 to 1; None if nobody said.
        correction: the outputs that should have been given; empty if none is known.
        at: when it was said, in seconds since 1970.
    """

    answer: ServedAnswer
    score: float | None
    correction: Mapping[str, Any]
    at: float

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        answer = self.answer
        return {
            "id": answer.id,
            "at": self.at,
            "program": answer.program,
            "run": answer.run,
            "score": self.score,
            "correction": dict(self.correction),
            "inputs": dict(answer.inputs),
            "outputs": dict(answer.outputs),
        }


class FeedbackFolder:
    """A folder with the last answers of servers, and the feedback on them.

    Args:
        path: the folder; created if it is missing.
        keep: the number of answers that can get feedback.
    """

    def __init__(self, path: Path, *, keep: int = KEPT) -> None:
        self.path = path
        self.answers = AnswerStore(path, keep=keep)

    def find(self, answer_id: str) -> ServedAnswer:
        """Return an answer.

        Raises:
            DataError: if it is not known, or not any more.
        """
        found = self.answers.find(answer_id)
        if found is None and answer_id.startswith(_CHAT):
            found = self.answers.find(answer_id.removeprefix(_CHAT))
        if found is None:
            raise DataError(
                f"no answer with the id {answer_id!r:.100} is known in {self.path}: give the "
                "X-Request-Id of an answer, for a row of a batch with its number (<id>.0); the "
                f"last {self.answers.keep:,} are kept"
            )
        return found

    def give(
        self, answer: ServedAnswer, *, score: float | None, correction: Mapping[str, Any]
    ) -> FeedbackRow:
        """Append a row, which is on the disk when this returns.

        Raises:
            StorageError: if it cannot be written.
        """
        row = FeedbackRow(answer, score, correction, time.time())
        append_durably(self.path / FEEDBACK, record_json(row.to_json()))
        return row

    def close(self) -> None:
        """Write the answers, and close the folder."""
        self.answers.close()


def feedback(
    id: str,
    *,
    score: float | bool | None = None,
    correction: Mapping[str, Any] | Any = None,
    folder: str | Path | None = None,
) -> None:
    """Say how good a served answer was, or what it should have been.

    Args:
        id: the `X-Request-Id` of the answer.
        score: from 0 (bad) to 1 (good); True is 1.
        correction: the right outputs by name, those that were right left out; for a program whose
            result has no fields, or that has one output, the right value alone.
        folder: that of `lmpipe serve --feedback`; by default `$LMPIPE_FEEDBACK`.

    Raises:
        ConfigError: if the folder has no answers, the score is not from 0 to 1, or neither a score
            nor a correction is given.
        DataError: if the answer is not known, or has no output of a name in the correction.
        StorageError: if the row cannot be written.
    """
    if not isinstance(id, str):
        raise ConfigError(
            f"feedback: {id!r:.100} is not the X-Request-Id of an answer: give a text"
        )
    given = folder or os.environ.get(FOLDER_VARIABLE)
    if not given or not (Path(given) / ANSWERS).is_file():
        where = f"{given} has no answers" if given else "no folder is given"
        raise ConfigError(
            f"feedback: {where}; name the folder of `lmpipe serve --feedback DIR` with folder=… or "
            f"in ${FOLDER_VARIABLE}"
        )
    if isinstance(score, bool):
        score = float(score)
    check_number("feedback", "score", score, minimum=0, maximum=1, optional=True)
    opened = FeedbackFolder(Path(given))
    try:
        answer = opened.find(id)
        changes = corrections_of(answer, correction)
        if score is None and not changes:
            raise ConfigError("feedback: give a score, a correction or both")
        opened.give(answer, score=score, correction=changes)
    finally:
        opened.close()


def corrections_of(answer: ServedAnswer, correction: Any) -> dict[str, Any]:
    """Return the corrected outputs of an answer by name, as JSON.

    Raises:
        DataError: if the answer has no such output, or it is not clear which one is meant.
    """
    if correction is None:
        return {}
    names = list(answer.outputs)
    if not isinstance(correction, Mapping) or (names == [RESULT] and RESULT not in correction):
        if len(names) != 1:
            raise DataError(
                f"the correction is one value, but the answer has the outputs {', '.join(names)}: "
                "give them by name"
            )
        correction = {names[0]: correction}
    if unknown := [str(name) for name in correction if name not in answer.outputs]:
        raise DataError(
            f"the correction has {', '.join(map(repr, unknown))}, which is not an output: the "
            f"answer has {', '.join(names)}"
        )
    return {name: jsonable(value) for name, value in correction.items()}
