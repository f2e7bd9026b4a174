"""Traces of MLflow 2 and 3 as JSON, with their assessments.

Source: https://mlflow.org/docs/latest/genai/concepts/trace/.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmpipe.data.traces.documents import (
    listed,
    object_at,
    objects,
    parsed,
    read_documents,
    text_at,
)
from lmpipe.data.traces.span import Feedback, Span
from lmpipe.errors import DataError


def read(path: Path) -> Iterator[Span]:
    """Read the spans of the traces in a file.

    Raises:
        DataError: if an object is not a trace.
    """
    for place, document in read_documents(path):
        for where, raw in listed(place, document, "traces"):
            yield from _spans(where, raw)


def _spans(place: str, raw: Mapping[str, Any]) -> Iterator[Span]:
    info, data = raw.get("info"), raw.get("data")
    if not isinstance(info, dict) or not isinstance(data, dict):
        raise DataError(
            f"{place}: a trace of MLflow has `info` and `data`; this has "
            f"{', '.join(raw) or 'no fields'}; write traces as trace.to_json() does"
        )
    trace = str(info.get("trace_id") or info.get("request_id") or place)
    said: dict[str | None, list[Feedback]] = defaultdict(list)
    for where, assessment in objects(f"{place}: assessments", info.get("assessments") or []):
        about = text_at(where, assessment, "span_id")
        said[about].append(_feedback(where, assessment))
    for where, span in objects(f"{place}: spans", data.get("spans")):
        yield _span(where, trace, span, info, said)


def _span(
    place: str,
    trace: str,
    raw: Mapping[str, Any],
    info: Mapping[str, Any],
    said: Mapping[str | None, list[Feedback]],
) -> Span:
    name = str(raw.get("span_id") or object_at(place, raw, "context").get("span_id"))
    parent = text_at(place, raw, "parent_span_id", "parent_id")
    attributes = {key: parsed(value) for key, value in object_at(place, raw, "attributes").items()}
    status = raw.get("status")
    code = status.get("code") if isinstance(status, dict) else raw.get("status_code")
    about = [*said.get(name, ()), *(said.get(None, ()) if parent is None else ())]
    return Span(
        place=place,
        trace=trace,
        id=name,
        parent=parent,
        name=str(raw.get("name", "")),
        kind=str(attributes.get("mlflow.spanType", "")),
        input=attributes.get("mlflow.spanInputs"),
        output=attributes.get("mlflow.spanOutputs"),
        attributes={**attributes, "tags": info.get("tags") or {}},
        failed="ERROR" in str(code),
        feedback=tuple(about),
    )


def _feedback(place: str, raw: Mapping[str, Any]) -> Feedback:
    """Read an assessment: the value of a feedback, or the value that was expected."""
    said = object_at(place, raw, "feedback" if raw.get("feedback") else "expectation")
    value = said.get("value")
    if value is None:
        value = parsed(object_at(place, said, "serialized_value").get("value"))
    return Feedback(str(raw.get("assessment_name") or raw.get("name")), value)
