"""Feedback: what users say of answers, kept with the answers for the next compile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from lmpipe.data.example import jsonable
from lmpipe.errors import DataError
from lmpipe.monitoring.answers import ServedAnswer
from lmpipe.monitoring.feedback import FeedbackFolder, corrections_of
from lmpipe.serve.deployment import Programs, ServedRun
from lmpipe.serve.error_log import ErrorLog
from lmpipe.serve.problems import FieldProblem, Problem, Refused
from lmpipe.serve.requests import json_response, read_json
from lmpipe.signatures.signature_spec import first_problem, type_name

_PAUSE = 0.2  # seconds between writes
_FIELDS = ("id", "score", "correction")


class KeptAnswers:
    """The last answers of a server.

    Args:
        folder: where they are kept.
        errors: the log; a full disk must not keep programs from answering.
    """

    def __init__(self, folder: FeedbackFolder, errors: ErrorLog) -> None:
        self.folder, self._errors = folder, errors
        self._timer: asyncio.TimerHandle | None = None

    def keep(
        self, request_id: str, served: ServedRun, inputs: Mapping[str, Any], outputs: Any
    ) -> None:
        """Keep an answer, which is written a moment later."""
        try:
            given = {name: jsonable(value) for name, value in inputs.items()}
            self.folder.answers.add(
                ServedAnswer(request_id, served.name, served.run, given, outputs)
            )
        except Exception as error:  # noqa: BLE001 - the client gets the answer all the same
            self._errors.log(error, request_id)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_PAUSE, self._start_to_write, loop)

    def _start_to_write(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        loop.run_in_executor(None, self._write)  # another process may be writing

    def _write(self) -> None:
        try:
            self.folder.answers.flush()
        except Exception as error:  # noqa: BLE001 - nobody else would be told
            self._errors.log(error, "keeping answers")

    def close(self) -> None:
        """Write what is kept."""
        if self._timer is not None:
            self._timer.cancel()
        self.folder.close()


class FeedbackEndpoint:
    """Takes feedback on answers."""

    def __init__(self, programs: Programs, answers: KeptAnswers | None) -> None:
        self._programs, self._answers = programs, answers

    async def give(self, request: Request) -> Response:
        """Take a score, a correction or both; the answer says that they are on the disk."""
        if self._answers is None:
            raise Refused(
                Problem(
                    404,
                    "no-feedback",
                    "this server keeps no feedback",
                    "ask the operator to start it with --feedback DIR",
                )
            )
        body = await read_json(request)
        if not isinstance(body, Mapping):
            raise _wrong("id", "is missing", "send an object with `id`, `score` and `correction`")
        for name in body:
            if name not in _FIELDS:
                raise _wrong(str(name), "is unknown", f"send {', '.join(_FIELDS)}")
        score = _score(body.get("score"))
        # In a thread: another process may be writing to the file.
        answer = await asyncio.to_thread(self._find, self._answers.folder, body.get("id"))
        correction = self._correction(answer, body.get("correction"))
        if score is None and not correction:
            raise _wrong("score", "is missing", "send a score, a correction or both")
        row = await asyncio.to_thread(
            self._answers.folder.give, answer, score=score, correction=correction
        )
        told = {"id": row.answer.id, "score": score, "correction": correction}
        return json_response(told, status=201)

    def _find(self, folder: FeedbackFolder, answer_id: object) -> ServedAnswer:
        if not isinstance(answer_id, str) or not answer_id:
            raise _wrong("id", "is missing", "send the X-Request-Id of the answer")
        try:
            return folder.find(answer_id)
        except DataError:
            raise Refused(
                Problem(
                    404,
                    "no-such-answer",
                    f"the server knows no answer {answer_id[:100]!r}",
                    "send the X-Request-Id of an answer, for a row of a batch its `id`; only the "
                    f"last {folder.answers.keep:,} answers are kept",
                )
            ) from None

    def _correction(self, answer: ServedAnswer, given: object) -> dict[str, Any]:
        """Return the corrected outputs; they must have the types that the program declares."""
        try:
            found = corrections_of(answer, given)
        except DataError as error:
            raise _wrong("correction", f"does not fit: {error}", "send outputs by name") from error
        deployment = self._programs.get(answer.program)
        declared = deployment.interface.outputs if deployment else {}
        for name, value in found.items():
            field = declared.get(name)
            if field is None:
                continue
            try:
                field.typed(value)
            except ValidationError as error:
                kind = type_name(field.annotation)
                raise FieldProblem(
                    "correction",
                    f"{name} is of another type: {first_problem(error)}",
                    f"send a value of type {kind}",
                    f"/{name}",
                ).refusal(422, "invalid-feedback", "the feedback cannot be used") from None
        return found


def _score(value: object) -> float | None:
    if value is None or isinstance(value, bool):
        return None if value is None else float(value)
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _wrong("score", "is not a number from 0 to 1", "send 1 for good, 0 for bad")
    return float(value)


def _wrong(field: str, detail: str, remedy: str) -> Refused:
    problem = FieldProblem(field, detail, remedy)
    return problem.refusal(422, "invalid-feedback", "the feedback cannot be used")
