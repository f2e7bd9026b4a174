"""Spans of OpenTelemetry in OTLP's JSON, with the attributes of its GenAI conventions.

Also read are attributes that stand for inputs and outputs in OpenInference and OpenLLMetry.
Source: https://opentelemetry.io/docs/specs/otlp/ and
https://opentelemetry.io/docs/specs/semconv/gen-ai/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmpipe.data.traces.documents import object_at, objects, parsed, read_documents, text_at
from lmpipe.data.traces.span import Feedback, Span, chat
from lmpipe.errors import DataError
from lmpipe.foundation.shorten import short_repr

_EVALUATION = "gen_ai.evaluation.result"
_ERROR = 2  # STATUS_CODE_ERROR
_INPUTS = ("input.value", "traceloop.entity.input", "gen_ai.tool.call.arguments")
_OUTPUTS = ("output.value", "traceloop.entity.output", "gen_ai.tool.call.result")
# What each event of the older conventions says.
_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


def read(path: Path) -> Iterator[Span]:
    """Read the spans of a file.

    Raises:
        DataError: if it is not OTLP's JSON; names the line or item.
    """
    for place, document in read_documents(path):
        groups = document.get("resourceSpans", document.get("resource_spans"))
        if groups is None:
            raise DataError(
                f"{place}: has no resourceSpans, so it is not OTLP's JSON; export the spans with "
                "a file exporter of OpenTelemetry"
            )
        for _, group in objects(f"{place}: resourceSpans", groups):
            scopes = group.get("scopeSpans", group.get("scope_spans", []))
            for _, scope in objects(f"{place}: scopeSpans", scopes):
                for where, span in objects(place, scope.get("spans", [])):
                    yield _span(where, span)


def _span(place: str, raw: Mapping[str, Any]) -> Span:
    attributes = _attributes(place, raw.get("attributes"))
    events = [
        (str(event.get("name")), _attributes(where, event.get("attributes")))
        for where, event in objects(f"{place}: events", raw.get("events") or [])
    ]
    status = object_at(place, raw, "status").get("code")
    sent, received = _input(attributes, events), _output(attributes, events)
    return Span(
        place=place,
        trace=str(raw.get("traceId", "")),
        id=str(raw.get("spanId", "")),
        parent=text_at(place, raw, "parentSpanId"),
        name=str(raw.get("name", "")),
        kind=str(attributes.get("gen_ai.operation.name", "")),
        input=sent,
        output=received,
        attributes=attributes,
        failed=status in (_ERROR, "STATUS_CODE_ERROR") or "error.type" in attributes,
        feedback=tuple(_feedback(values) for name, values in events if name == _EVALUATION),
    )


def _attributes(place: str, pairs: Any) -> dict[str, Any]:
    listed = objects(f"{place}: attributes", pairs or [])
    return {str(pair.get("key")): _value(where, pair.get("value")) for where, pair in listed}


def _value(place: str, value: Any) -> Any:
    """Read a value of OTLP, which says its type."""
    match value:
        case {"stringValue": str(text)}:
            return text
        case {"boolValue": bool(truth)}:
            return truth
        case {"intValue": int() | str() as number}:
            return _number(place, int, number)
        case {"doubleValue": int() | float() | str() as number}:
            return _number(place, float, number)
        case {"arrayValue": {"values": list(found)}}:
            return [_value(place, item) for item in found]
        case {"arrayValue": {}}:
            return []
        case {"kvlistValue": {**inner}}:
            return _attributes(place, inner.get("values"))
    return None


def _number(place: str, kind: type[int] | type[float], written: str | float) -> float:
    try:
        return kind(written)
    except ValueError as error:
        raise DataError(f"{place}: {short_repr(written, 80)} is not a number") from error


def _input(attributes: Mapping[str, Any], events: list[tuple[str, dict[str, Any]]]) -> Any:
    if "gen_ai.input.messages" in attributes:
        messages = parsed(attributes["gen_ai.input.messages"])
        return chat(messages, "user") if isinstance(messages, list) else messages
    for name in _INPUTS:
        if name in attributes:
            return parsed(attributes[name])
    told = [{"role": _ROLES[name], **values} for name, values in events if name in _ROLES]
    told = told or _numbered(attributes, "gen_ai.prompt")
    return chat(told, "user") if told else None


def _output(attributes: Mapping[str, Any], events: list[tuple[str, dict[str, Any]]]) -> Any:
    if "gen_ai.output.messages" in attributes:
        messages = parsed(attributes["gen_ai.output.messages"])
        return chat(messages) if isinstance(messages, list) else messages
    for name in _OUTPUTS:
        if name in attributes:
            return parsed(attributes[name])
    told: list[Any] = []
    for name, values in events:
        if name == "gen_ai.choice":
            message = parsed(values.get("message", values))
            told.append({"role": "assistant", **(message if isinstance(message, dict) else values)})
    told = told or _numbered(attributes, "gen_ai.completion")
    return chat(told) if told else None


def _numbered(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Collect messages from attributes such as `gen_ai.prompt.0.content`."""
    found: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        start, _, rest = name.removeprefix(f"{prefix}.").partition(".")
        if name.startswith(f"{prefix}.") and start.isdigit():
            found.setdefault(int(start), {})[rest] = value
    return [found[number] for number in sorted(found)]


def _feedback(values: Mapping[str, Any]) -> Feedback:
    label = values.get("gen_ai.evaluation.score.label")
    value = values.get("gen_ai.evaluation.score.value", label)
    return Feedback(str(values.get("gen_ai.evaluation.name", "")), value)
