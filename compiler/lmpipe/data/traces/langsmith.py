"""Runs, feedback and data sets that LangSmith exports.

Source: https://docs.langchain.com/langsmith/run-data-format and
https://docs.langchain.com/langsmith/feedback-data-format.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmpipe.data.traces.documents import (
    object_at,
    objects,
    parsed,
    read_documents,
    text_at,
    unknown_object,
)
from lmpipe.data.traces.span import Feedback, Span


def read(path: Path) -> Iterator[Span]:
    """Read the runs of a file, with the feedback that is in it; or the examples of a data set.

    Raises:
        DataError: if an object is neither a run, nor an example, nor feedback.
    """
    spans: list[Span] = []
    feedback: dict[str, list[Feedback]] = defaultdict(list)
    for place, document in read_documents(path):
        for where, raw in _objects(place, document):
            if "key" in raw and "run_id" in raw:
                feedback[str(raw["run_id"])] += _said(raw)
            else:
                spans += _runs(where, raw)
    for span in spans:
        yield replace(span, feedback=(*span.feedback, *feedback[span.id]))


def _objects(place: str, document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("runs", "feedback", "examples"):
        if isinstance(document.get(name), list) and "id" not in document:
            yield from objects(f"{place}: {name}", document[name])
            return
    yield place, document


def _runs(place: str, raw: Mapping[str, Any]) -> Iterator[Span]:
    if "inputs" not in raw:
        expected = "neither a run, nor an example, nor feedback of LangSmith"
        raise unknown_object(place, expected, raw)
    is_run = "run_type" in raw
    name = str(raw.get("id") or place)
    extra = object_at(place, raw, "extra")
    yield Span(
        place=place,
        trace=str(raw.get("trace_id") or name),
        id=name,
        parent=_parent(place, raw),
        name=str(raw.get("name") or ("" if is_run else "example")),
        kind=str(raw.get("run_type") or "example"),
        input=parsed(raw.get("inputs")),
        output=parsed(raw.get("outputs")),
        attributes={
            "metadata": raw.get("metadata") or extra.get("metadata") or {},
            "tags": raw.get("tags") or [],
        },
        failed=bool(raw.get("error")) or raw.get("status") == "error",
        feedback=tuple(_averages(object_at(place, raw, "feedback_stats"))),
    )
    for where, child in objects(f"{place}: child_runs", raw.get("child_runs") or []):
        yield from _runs(where, child)


def _parent(place: str, raw: Mapping[str, Any]) -> str | None:
    parents = raw.get("parent_run_ids")
    above = {"parent_run_ids": parents[-1]} if isinstance(parents, list) and parents else {}
    return text_at(
        place,
        {**above, "parent_run_id": raw.get("parent_run_id")},
        "parent_run_id",
        "parent_run_ids",
    )


def _averages(stats: Mapping[str, Any]) -> Iterator[Feedback]:
    """Read what a run says about its feedback: the mean score of each kind."""
    for key, values in stats.items():
        mean = values.get("avg") if isinstance(values, dict) else None
        if mean is not None:
            yield Feedback(key, mean)


def _said(raw: Mapping[str, Any]) -> Iterator[Feedback]:
    """Read feedback: its score or value, and the correction beside it as `<key>.correction`."""
    value = raw.get("score")
    value = raw.get("value") if value is None else value
    if value is not None:
        yield Feedback(str(raw["key"]), value)
    correction = parsed(raw.get("correction"))
    if correction is not None:
        yield Feedback(f"{raw['key']}.correction", correction)
