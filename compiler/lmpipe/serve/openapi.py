"""The OpenAPI document of a server: the types of its programs, and all its addresses."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lmpipe.serve.deployment import Deployment, Programs
from lmpipe.serve.options import ServeOptions
from lmpipe.serve.requests import RUN_HEADER, UNIT_HEADER, USAGE_HEADER, json_response
from lmpipe.serve.running import CALLS_HEADER, TIMEOUT_HEADER

_HEADERS = {
    TIMEOUT_HEADER: ("number", "the longest time of the run, in seconds"),
    CALLS_HEADER: ("integer", "the maximum number of LM calls of the run"),
    UNIT_HEADER: ("string", "whom the answer is for: the same run answers each time"),
    RUN_HEADER: ("string", "the run that has to answer"),
    "x-request-id": ("string", "the id of the request; one is made if there is none"),
}
_ANSWER_HEADERS = {
    "x-request-id": ("string", "the id of the request, which the log has too"),
    RUN_HEADER: ("string", "the run that answered"),
    USAGE_HEADER: (
        "string",
        "the LM calls of the run, those that were not cached, and the tokens of prompts and "
        "replies: `calls=2, fresh_calls=1, tokens=310`",
    ),
}
_PROBLEMS = {
    "401": "no API key, or an unknown one",
    "422": "inputs that the program does not take, or too few LM calls allowed",
    "429": "the server is busy",
    "502": "the LM refused, or its answer cannot be used",
    "503": "the LM is unavailable",
    "504": "the deadline passed",
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "problem details (RFC 9457)",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what happened"},
        "remedy": {"type": "string", "description": "what to do"},
        "instance": {"type": "string", "description": "the id of the request"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    name: {"type": "string"} for name in ("field", "pointer", "detail", "remedy")
                },
            },
        },
    },
    "required": ["type", "title", "status", "detail", "remedy"],
}


_EVENTS = (
    "events `partial` with `field`, `offset`, `delta`, `value` and `done`, then `result` with "
    "`outputs`, or `error` with a problem"
)


class OpenAPI:
    """Makes the OpenAPI document of the programs, and keeps it until one is swapped."""

    def __init__(
        self, programs: Programs, options: ServeOptions, *, feedback: bool = False
    ) -> None:
        """Describe programs; `feedback` says whether the server takes it."""
        self._programs, self._options, self._feedback = programs, options, feedback
        self._made: tuple[int, dict[str, Any]] | None = None

    async def document(self, request: Request) -> Response:
        """Answer with the document."""
        if self._made is None or self._made[0] != self._programs.version:
            made = _document_of(self._programs, self._options)
            if self._feedback:
                made["paths"]["/feedback"] = {"post": _feedback_operation()}
            self._made = self._programs.version, made
        return json_response(self._made[1])


def _document_of(programs: Programs, options: ServeOptions) -> dict[str, Any]:
    """Return the OpenAPI document of programs."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM_SCHEMA}
    paths: dict[str, Any] = {}
    for deployment in programs:
        schemas |= _schemas_of(deployment)
        path = f"/v1/programs/{deployment.name}"
        paths[path] = {"post": _answer_operation(deployment)}
        paths[f"{path}/batch"] = {"post": _batch_operation(deployment)}
    for path, (about, statuses) in _OTHERS.items():
        responses = {status: {"description": text} for status, text in statuses.items()}
        paths[path] = {"get": {"summary": about, "responses": responses}}
    paths["/v1/chat/completions"] = {"post": _chat_operation()}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Programs of lmpipe", "version": version("lmpipe")},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if options.keys:
        key = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"key": key}
        document["security"] = [{"key": []}]
    return document


_OTHERS = {
    "/v1/models": ("List the programs as models of OpenAI", {"200": "the models"}),
    "/v1/programs": ("List the programs and their runs", {"200": "the programs"}),
    "/health": ("Say that the process answers", {"200": "it does"}),
    "/ready": ("Say whether the server wants requests", {"200": "it does", "503": "it stops"}),
}


_COMPONENTS = "#/components/schemas/{}.{{model}}"


def _schemas_of(deployment: Deployment) -> dict[str, Any]:
    """Return the schemas of a program's inputs and outputs, and what they refer to."""
    name = of_outputs = deployment.name
    inputs = deployment.interface.input_schema(_COMPONENTS.format(name))
    outputs = deployment.interface.output_schema(_COMPONENTS.format(name))
    if any(inputs.definitions.get(key, item) != item for key, item in outputs.definitions.items()):
        # Other types of the same name, or one with fields that only outputs have.
        of_outputs = f"{name}.outputs"
        outputs = deployment.interface.output_schema(_COMPONENTS.format(of_outputs))
    found = {f"{name}.inputs": inputs.schema, f"{name}.outputs": outputs.schema}
    found |= {f"{name}.{model}": schema for model, schema in inputs.definitions.items()}
    return found | {f"{of_outputs}.{model}": item for model, item in outputs.definitions.items()}


def _answer_operation(deployment: Deployment) -> dict[str, Any]:
    name, about = deployment.name, deployment.interface.about
    answer = {
        "description": "the outputs of the program",
        "headers": _header_objects(_ANSWER_HEADERS),
        "content": {
            "application/json": {"schema": _reference(f"{name}.outputs")},
            "text/event-stream": {"schema": {"type": "string", "description": _EVENTS}},
        },
    }
    return {
        "operationId": f"run_{name}",
        "summary": f"Run {name}",
        "description": about,
        "tags": [name],
        "parameters": _parameters(),
        "requestBody": {
            "required": True,
            "content": _json_content(_reference(f"{name}.inputs")),
        },
        "responses": {"200": answer, **_problem_responses()},
    }


def _batch_operation(deployment: Deployment) -> dict[str, Any]:
    name = deployment.name
    rows = {"type": "array", "items": _reference(f"{name}.inputs"), "minItems": 1}
    result = {
        "type": "object",
        "description": "the outputs of a row, or its problem",
        "properties": {
            "outputs": _reference(f"{name}.outputs"),
            "run": {"type": "string"},
            "calls": {"type": "integer"},
            "id": {"type": "string", "description": "the id of the row, for feedback"},
            "problem": _reference("Problem"),
        },
    }
    return {
        "operationId": f"batch_{name}",
        "summary": f"Run {name} on many rows; the limits hold for each",
        "tags": [name],
        "parameters": _parameters(),
        "requestBody": {"required": True, "content": _json_content(_object(rows=rows))},
        "responses": {
            "200": {
                "description": "a result for each row, in their order",
                "content": _json_content(_object(results={"type": "array", "items": result})),
            },
            **_problem_responses(),
        },
    }


def _chat_operation() -> dict[str, Any]:
    message = _object(role={"type": "string"}, content={"type": "string"})
    body = _object(
        model={"type": "string", "description": "the name of a program"},
        messages={"type": "array", "items": message, "minItems": 1},
    )
    body["properties"]["stream"] = {"type": "boolean"}
    return {
        "operationId": "chat",
        "summary": "Ask a program as a model of OpenAI's chat completions",
        "requestBody": {"required": True, "content": _json_content(body)},
        "responses": {
            "200": {
                "description": "a chat completion of OpenAI, or chunks of it",
                "content": _json_content({"type": "object"}),
            },
            **_problem_responses(),
        },
    }


def _feedback_operation() -> dict[str, Any]:
    body = _object(id={"type": "string", "description": "the X-Request-Id of an answer"})
    body["properties"] |= {
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "correction": {"description": "the right outputs by name, as far as others were given"},
    }
    statuses = {"201": "it is kept", "404": "no such answer", "422": "it cannot be used"}
    return {
        "operationId": "feedback",
        "summary": "Say how good an answer was, or what it should have been",
        "requestBody": {"required": True, "content": _json_content(body)},
        "responses": {status: {"description": text} for status, text in statuses.items()},
    }


def _json_content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _parameters() -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "description": text, "schema": {"type": kind}}
        for name, (kind, text) in _HEADERS.items()
    ]


def _problem_responses() -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _reference("Problem")}}
    return {status: {"description": text, "content": content} for status, text in _PROBLEMS.items()}


def _header_objects(described: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    return {
        name: {"description": text, "schema": {"type": kind}}
        for name, (kind, text) in described.items()
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
