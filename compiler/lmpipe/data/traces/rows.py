"""Rows of examples from spans, by a mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from lmpipe.data.traces.mapping import FeedbackSource, FieldSource, SpanSource, TraceMapping
from lmpipe.data.traces.span import Feedback, Span
from lmpipe.errors import DataError

_SHOWN = 10  # names of spans in a message


@dataclass(frozen=True)
class Rows:
    """What became of the traces of a file.

    Args:
        rows: the fields of each example, with its place in the file.
        inputs: the fields that are passed to the program.
        left_out: how many runs gave no row, by the reason.
    """

    rows: Sequence[tuple[str, dict[str, Any]]]
    inputs: Sequence[str]
    left_out: Mapping[str, int]


def rows_of(spans: Iterable[Span], mapping: TraceMapping, predictor: str | None, file: str) -> Rows:
    """Make a row of each run; with a predictor, one of each of its uses.

    Raises:
        DataError: if the mapping names no field or no span, or a span lacks a field.
    """
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace, []).append(span)
    source = _source(mapping, predictor)
    rows: list[tuple[str, dict[str, Any]]] = []
    left_out: Counter[str] = Counter()
    found = 0
    for trace in traces.values():
        for span in _chosen(trace, source, all_of_them=predictor is not None):
            found += 1
            row = _row(span, trace, mapping, predictor)
            if isinstance(row, str):
                left_out[row] += 1
            else:
                rows.append((span.where(), row))
    if not found:
        raise DataError(f"{file}: {_none_found(source, traces.values())}")
    return Rows(rows, list(source.inputs), dict(left_out))


def _source(mapping: TraceMapping, predictor: str | None) -> SpanSource:
    """The entry of the mapping that says what the inputs of rows are."""
    if predictor is None:
        source, where = mapping.program, "[program]"
    elif predictor in mapping.predictors:
        source, where = mapping.predictors[predictor], f'[predictors."{predictor}"]'
    else:
        known = ", ".join(mapping.predictors) or "none"
        raise DataError(f"the mapping has no predictor {predictor!r}; it has {known}")
    if not source.inputs:
        raise DataError(
            f"the mapping names no inputs: write {where} with inputs.<field> = "
            '"input.<path of its value>"'
        )
    return source


def _chosen(trace: Sequence[Span], source: SpanSource, *, all_of_them: bool) -> Sequence[Span]:
    """The spans of a trace that an entry means, as many as are used."""
    ids = {span.id for span in trace}
    found = [
        span
        for span in trace
        if (not source.span or fnmatchcase(span.name, source.span))
        and (not source.kind or span.kind.casefold() == source.kind.casefold())
        and (source.span or source.kind or span.parent is None or span.parent not in ids)
    ]
    if all_of_them or not found:
        return found
    return found[:1] if source.use == "first" else found[-1:]


def _row(
    span: Span, trace: Sequence[Span], mapping: TraceMapping, predictor: str | None
) -> dict[str, Any] | str:
    """Make the row of a span; a text says why it has none."""
    if span.failed or span.output is None:
        return "failed"
    source, corrections = _source(mapping, predictor), mapping.feedback.corrections
    row = _fields(span, {**source.inputs, **source.outputs})
    if predictor is None:
        for entry in mapping.predictors.values():
            for part in _chosen(trace, entry, all_of_them=False):
                if not part.failed:
                    # The program's own fields stay where a predictor has one of the same name.
                    row = row | _fields(part, {**entry.inputs, **entry.outputs}) | row
    else:  # what is right for the whole run says nothing about a step with other outputs
        corrections = {name: said for name, said in corrections.items() if name in source.outputs}
    return _judged(row, _feedback(span, trace), mapping.feedback, corrections, span)


def _fields(span: Span, sources: Mapping[str, FieldSource]) -> dict[str, Any]:
    row = {}
    for name, source in sources.items():
        try:
            value = source.read(span)
        except DataError as error:
            if source.optional:
                continue
            raise DataError(
                f"{span.where()}: field {name!r}: {error}; change the path in the mapping, or "
                "write { path = …, optional = true }"
            ) from error
        if value is not None or not source.optional:
            row[name] = value
    return row


def _feedback(span: Span, trace: Sequence[Span]) -> dict[str, Feedback]:
    """What was said about a span, or else about the run that it is of."""
    roots = [other for other in trace if other.parent is None]
    return {item.name: item for other in (*roots, span) for item in other.feedback}


def _judged(
    row: dict[str, Any],
    said: Mapping[str, Feedback],
    source: FeedbackSource,
    corrections: Mapping[str, str],
    span: Span,
) -> dict[str, Any] | str:
    """Correct a row by feedback; a text says why it is left out."""
    corrected = {output: said[name].value for output, name in corrections.items() if name in said}
    thumb = said.get(source.thumb) if source.thumb else None
    try:
        good = None if thumb is None or thumb.value is None else thumb.is_good()
    except DataError as error:
        raise DataError(f"{span.where()}: {error}") from error
    if not corrected and good is False and source.disliked == "skip":
        return "disliked"
    if not corrected and good is None and source.unrated == "skip":
        return "unrated"
    for output, value in corrected.items():
        # A correction may be all outputs together.
        row[output] = value[output] if isinstance(value, dict) and output in value else value
    if source.thumb_field and good is not None:
        row[source.thumb_field] = good
    return row


def _none_found(source: SpanSource, traces: Iterable[Sequence[Span]]) -> str:
    names = list(dict.fromkeys(span.name for trace in traces for span in trace))
    if not names:
        return "has no spans"
    wanted = f"named {source.span!r}" if source.span else "without a parent"
    kind = f" of the kind {source.kind!r}" if source.kind else ""
    shown = ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
    return f"has no span {wanted}{kind}: its spans are {shown}; change `span` in the mapping"
