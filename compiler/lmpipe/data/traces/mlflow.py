"""Traces of MLflow 2 and 3 as JSON, with their assessments.

Source: https://mlflow.org/docs/latest/genai/concepts/trace/.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmpipe.data.traces.documents import as_object, items, parsed, read_documents
from lmpipe.data.traces.span import Feedback, Span
from lmpipe.errors import DataError


def read(path: Path) -> Iterator[Span]:
    """Read the spans of the traces in a file.

    Raises:
        DataError: if an object is no trace.
    """
    for place, document in read_documents(path):
        for where, raw in _traces(place, document):
            yield from _spans(where, raw)


def _traces(place: str, document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(document.get("traces"), list):
        for where, item in items(place, document["traces"]):
            yield where, as_object(where, item)
        return
    yield place, document


def _spans(place: str, raw: Mapping[str, Any]) -> Iterator[Span]:
    info, data = raw.get("info"), raw.get("data")
    if not isinstance(info, dict) or not isinstance(data, dict):
        raise DataError(
            f"{place}: a trace of MLflow has `info` and `data`; this has "
            f"{', '.join(raw) or 'no fields'}; write traces as trace.to_json() does"
        )
    trace = str(info.get("trace_id") or info.get("request_id") or place)
    said: dict[str | None, list[Feedback]] = defaultdict(list)
    for assessment in info.get("assessments") or []:
        said[assessment.get("span_id")].append(_feedback(assessment))
    for where, span in items(f"{place}: spans", data.get("spans")):
        yield _span(where, trace, as_object(where, span), info, said)


def _span(
    place: str,
    trace: str,
    raw: Mapping[str, Any],
    info: Mapping[str, Any],
    said: Mapping[str | None, list[Feedback]],
) -> Span:
    name = str(raw.get("span_id") or (raw.get("context") or {}).get("span_id"))
    parent = raw.get("parent_span_id") or raw.get("parent_id") or None
    attributes = {key: parsed(value) for key, value in (raw.get("attributes") or {}).items()}
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


def _feedback(raw: Mapping[str, Any]) -> Feedback:
    """Read an assessment: the value of a feedback, or the value that was expected."""
    said = raw.get("feedback") or raw.get("expectation") or {}
    value = said.get("value")
    if value is None:
        value = parsed((said.get("serialized_value") or {}).get("value"))
    return Feedback(str(raw.get("assessment_name") or raw.get("name")), value)
