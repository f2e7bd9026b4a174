"""Traces that Langfuse exports: of its user interface, its API and its blob storage.

Source: https://langfuse.com/docs/api-and-data-platform/features/export-from-ui and
https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmpipe.data.traces.documents import (
    items,
    objects,
    parsed,
    read_documents,
    text_at,
    unknown_object,
)
from lmpipe.data.traces.span import Feedback, Span


def read(path: Path) -> Iterator[Span]:
    """Read the traces, observations and scores of a file.

    Raises:
        DataError: if an object is something else; names the line or item.
    """
    spans: list[Span] = []
    feedback: dict[tuple[str, str | None], list[Feedback]] = defaultdict(list)
    for place, document in read_documents(path):
        for where, kind, raw in _objects(place, document):
            if kind == "score":
                about = text_at(where, raw, "observationId", "observation_id")
                feedback[str(_get(raw, "traceId")), about].append(_feedback(raw))
            else:
                spans.append(_trace(where, raw) if kind == "trace" else _observation(where, raw))
    traces = {span.trace for span in spans if span.parent is None and span.id == span.trace}
    for span in spans:
        is_root = span.id == span.trace or (span.parent is None and span.trace not in traces)
        said = [*feedback[span.trace, span.id], *(feedback[span.trace, None] if is_root else [])]
        parent = span.parent
        if parent is None and span.id != span.trace and span.trace in traces:
            parent = span.trace
        yield replace(span, parent=parent, feedback=tuple(said))


def _objects(place: str, document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """List the traces, observations and scores in a document, which may hold each other."""
    if isinstance(document.get("data"), list):  # an answer of the API
        for where, item in objects(place, document["data"]):
            yield from _objects(where, item)
        return
    trace = document.get("trace")
    if isinstance(trace, dict):  # a trace as the user interface saves it
        yield place, "trace", trace
    elif _get(document, "traceId") is None and ("name" in document or "input" in document):
        yield place, "trace", document
    elif "dataType" in document or "data_type" in document or "scoreId" in document:
        yield place, "score", document
        return
    elif _get(document, "traceId") is not None:
        yield place, "observation", document
        return
    else:
        expected = "neither a trace, nor an observation, nor a score of Langfuse"
        raise unknown_object(place, expected, document)
    owner = trace if isinstance(trace, dict) else document
    for kind in ("observation", "score"):
        for where, item in items(f"{place}: {kind}s", document.get(f"{kind}s") or []):
            if isinstance(item, dict):  # lists of traces have the ids of observations only
                yield where, kind, {"traceId": owner.get("id"), **item}


def _trace(place: str, raw: Mapping[str, Any]) -> Span:
    name = str(raw.get("id"))
    return Span(
        place=place,
        trace=name,
        id=name,
        name=str(raw.get("name") or ""),
        kind="trace",
        input=parsed(raw.get("input")),
        output=parsed(raw.get("output")),
        attributes=_attributes(raw),
    )


def _observation(place: str, raw: Mapping[str, Any]) -> Span:
    return Span(
        place=place,
        trace=str(_get(raw, "traceId")),
        id=str(raw.get("id")),
        parent=text_at(place, raw, "parentObservationId", "parent_observation_id"),
        name=str(raw.get("name") or ""),
        kind=str(raw.get("type") or "").lower(),
        input=parsed(raw.get("input")),
        output=parsed(raw.get("output")),
        attributes=_attributes(raw),
        failed=raw.get("level") == "ERROR",
    )


def _attributes(raw: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ("input", "output", "observations", "scores")
    return {
        name: parsed(value) if name == "metadata" else value
        for name, value in raw.items()
        if name not in left_out
    }


def _feedback(raw: Mapping[str, Any]) -> Feedback:
    """Read a score; a correction is the right output, and booleans are numbers beside a text."""
    text = raw.get("longStringValue") or _get(raw, "stringValue")
    value = raw.get("value")
    kind = str(_get(raw, "dataType") or "")
    if kind == "BOOLEAN":
        value = bool(value)
    elif text is not None and (kind in ("CATEGORICAL", "CORRECTION", "TEXT") or value is None):
        value = text
    return Feedback(str(raw.get("name")), parsed(value) if kind == "CORRECTION" else value)


def _get(raw: Mapping[str, Any], name: str) -> Any:
    """Return a field, which blob storage names in lower case with underscores."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return raw.get(name, raw.get(snake))
