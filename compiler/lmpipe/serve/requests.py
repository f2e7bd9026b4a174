"""Reading requests and writing answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response

from lmpipe.foundation.exact_json import dump_json, load_json
from lmpipe.serve.deployment import Deployment, Programs, ServedRun
from lmpipe.serve.problems import FieldProblem, Problem, Refused
from lmpipe.serve.running import Answer

# The keys of what is known of a request, in its state.
REQUEST_ID, HEADERS, RUN = "request_id", "headers", "run"

UNIT_HEADER, RUN_HEADER, USAGE_HEADER = "lmpipe-unit", "lmpipe-run", "lmpipe-usage"


def request_id(request: Request) -> str:
    """Return the id of a request, which its answer and the log have too."""
    found: str = getattr(request.state, REQUEST_ID)
    return found


def headers_of(request: Request) -> Mapping[str, str]:
    """Return the headers of a request by their names in lower case."""
    found: Mapping[str, str] = getattr(request.state, HEADERS)
    return found


async def read_json(request: Request) -> Any:
    """Read the body of a request.

    Raises:
        Refused: if it is not sent as JSON, or is not JSON.
    """
    # A page of another site can send any other type from a browser without being asked first.
    kind = headers_of(request).get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refused(
            Problem(
                415,
                "json-needed",
                f"the body has the type {kind}"[:200] if kind else "the body has no type",
                "send JSON with `Content-Type: application/json`",
            )
        )
    try:
        return load_json(await request.body())
    except orjson.JSONDecodeError as error:
        raise Refused(
            Problem(
                400,
                "invalid-json",
                f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})",
                "send a JSON object in UTF-8",
            )
        ) from None


def find_deployment(programs: Programs, name: str) -> Deployment:
    """Return what answers for a program, or raise Refused."""
    found = programs.get(name)
    if found is None:
        names = ", ".join(programs.names)
        raise Refused(
            Problem(
                404,
                "no-such-program",
                f"the server has no program {name[:100]!r}",
                f"ask for one of {names}",
            )
        )
    return found


def choose_run(deployment: Deployment, request: Request) -> ServedRun:
    """Choose the run that answers, and note it: the one that is asked for, or by the shares.

    Raises:
        Refused: if the request asks for a run that does not answer for the program.
    """
    headers = headers_of(request)
    wanted = headers.get(RUN_HEADER)
    if wanted is None:
        found = deployment.choose(headers.get(UNIT_HEADER) or request_id(request))
    elif (named := deployment.find(unquote(wanted))) is not None:
        found = named
    else:
        runs = ", ".join(run.run for run in deployment.runs)
        remedy = f"send one of {runs}, or leave it out"
        wrong = FieldProblem(RUN_HEADER, f"is {wanted[:100]!r}", remedy)
        detail = f"this run does not answer for {deployment.name} now"
        raise wrong.refusal(409, "no-such-run", detail)
    return note_run(request, found)


def note_run(request: Request, served: ServedRun) -> ServedRun:
    """Note which run answers a request, so that a failure tells it too."""
    setattr(request.state, RUN, served.run)
    return served


def header_of_run(run: str) -> str:
    """Return the name of a run as a header has it: a folder may have any name."""
    return quote(run, safe=" !#$&'()*+,/:;=?@[]~")


def answer_headers(served: ServedRun, answer: Answer | None = None) -> dict[str, str]:
    """Return the headers that tell which run answered, and what it took."""
    headers = {RUN_HEADER: header_of_run(served.run)}
    if answer is not None:
        # A dictionary of RFC 9651.
        took = answer.usage().items()
        headers[USAGE_HEADER] = ", ".join(f"{name}={number}" for name, number in took)
    return headers


def json_response(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Make a response of JSON."""
    return Response(
        dump_json(value), status, headers=dict(headers or {}), media_type="application/json"
    )
