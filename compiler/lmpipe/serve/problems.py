"""What a client is told when a request fails: problem details (RFC 9457) with a remedy.

A message of an LM's server or of a program's own code may name addresses, files or keys: clients
get a text of this file, with the request's id, under which the log has the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from lmpipe.errors import (
    CallLimitError,
    DeadlineError,
    LMRequestError,
    LMUnavailableError,
    OutputError,
    RefusalError,
    RunTimeoutError,
    ServerError,
    ToolServerError,
)

_SECONDS_TO_WAIT = 1.0  # if the LM's server does not say


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one input.

    Args:
        field: the input's name, or that of a header.
        detail: what was expected, and what was found.
        remedy: what to send instead.
        place: where in the input it is, as a JSON pointer such as `/items/0`.
    """

    field: str
    detail: str
    remedy: str
    place: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "field": self.field,
            "pointer": f"/{escaped(self.field)}{self.place}",
            "detail": self.detail,
            "remedy": self.remedy,
        }

    def refusal(self, status: int, kind: str, detail: str) -> Refused:
        """Return the refusal of a request for this reason alone."""
        return Refused(Problem(status, kind, detail, self.remedy, [self]))


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request has no answer.

    Args:
        status: the HTTP status.
        kind: names the problem for programs, such as `invalid-inputs`.
        detail: what happened, in words.
        remedy: what the client can do.
        fields: what is wrong with single inputs.
        retry_after: the seconds after which the same request may succeed; None if it will not.
    """

    status: int
    kind: str
    detail: str
    remedy: str
    fields: Sequence[FieldProblem] = ()
    retry_after: float | None = None

    def to_json(self, request_id: str = "") -> dict[str, Any]:
        """Return the problem as an object of RFC 9457."""
        body: dict[str, Any] = {
            "type": f"urn:lmpipe:problem:{self.kind}",
            "title": self.kind.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "remedy": self.remedy,
        }
        if request_id:
            body["instance"] = f"urn:lmpipe:request:{request_id}"
        if self.fields:
            body["errors"] = [field.to_json() for field in self.fields]
        return body

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to it."""
        found = {}
        if self.retry_after is not None:
            found["retry-after"] = str(max(1, ceil(self.retry_after)))
        if self.status == 401:
            found["www-authenticate"] = "Bearer"
        return found


class Refused(Exception):  # noqa: N818 - it carries a problem, which is the error
    """A request that is answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def invalid_inputs(what: str, fields: Sequence[FieldProblem]) -> Problem:
    """The problem of inputs that a program does not take."""
    named = ", ".join(dict.fromkeys(repr(field.field) for field in fields))
    return Problem(
        422,
        "invalid-inputs",
        f"{what} does not take these inputs: see {named} in `errors`",
        "correct the fields in `errors`; /openapi.json has the types of all inputs",
        fields,
    )


def problem_of(error: BaseException) -> Problem:
    """Return the problem that a client is told for what a run raised."""
    match error:
        case Refused(problem=problem):
            return problem
        case CallLimitError():
            return Problem(
                422,
                "call-budget",
                "the run needs more LM calls than this request may make",
                "raise Lmpipe-Max-Calls, or ask the operator for a higher limit (--max-calls)",
            )
        case RunTimeoutError() | DeadlineError():
            return Problem(
                504,
                "deadline",
                "the run did not end before the deadline of this request",
                "set a later one with Lmpipe-Timeout, up to the limit of the server (--deadline)",
            )
        case LMUnavailableError() | ServerError():
            wait = getattr(error, "retry_after", None)
            return Problem(
                503,
                "lm-unavailable",
                "the LM of this program cannot be reached, or is overloaded",
                "send the request again after the seconds in Retry-After",
                retry_after=_SECONDS_TO_WAIT if wait is None else wait,
            )
        case LMRequestError():
            return Problem(
                502,
                "lm-refused",
                "the LM's server refused a request of this program",
                "the operator finds the reason in the log, under the id of this request",
            )
        case RefusalError():
            return Problem(
                502, "declined", "the LM declined to answer", "rephrase the inputs, or send others"
            )
        case OutputError():
            return Problem(
                502,
                "unusable-answer",
                "the LM gave no answer that fits the declared outputs",
                "send the request again, or other inputs; the log has the reason under the id of "
                "this request",
            )
        case ToolServerError():
            return Problem(
                503,
                "tools-unavailable",
                "a server of tools cannot be reached",
                "send the request again after the seconds in Retry-After",
                retry_after=_SECONDS_TO_WAIT,
            )
    return Problem(
        500,
        "program-failed",
        "the program raised an error of its own",
        "the operator finds it in the log, under the id of this request",
    )


def openai_error(problem: Problem) -> dict[str, Any]:
    """Return a problem as OpenAI's clients read errors."""
    fields = "; ".join(f"{item.field} {item.detail}: {item.remedy}" for item in problem.fields)
    message = f"{problem.detail} ({fields})" if fields else f"{problem.detail}: {problem.remedy}"
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    param = problem.fields[0].field if problem.fields else None
    return {"message": message, "type": kind, "param": param, "code": problem.kind}


def escaped(token: str) -> str:
    """Escape a name for a JSON pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")
