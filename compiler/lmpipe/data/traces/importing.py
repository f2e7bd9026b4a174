"""`import_examples`: examples from traces and data sets of other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.data.example import Example
from lmpipe.data.splits import check_not_empty
from lmpipe.data.traces import langfuse, langsmith, mlflow, open_telemetry, openai_files
from lmpipe.data.traces.mapping import TraceMapping
from lmpipe.data.traces.rows import rows_of
from lmpipe.data.traces.span import Span
from lmpipe.errors import DataError

_READERS: Mapping[str, Callable[[Path], Iterator[Span]]] = {
    "otlp": open_telemetry.read,
    "langfuse": langfuse.read,
    "langsmith": langsmith.read,
    "openai-evals": openai_files.read_evals,
    "stored-completions": openai_files.read_completions,
    "mlflow": mlflow.read,
}


@dataclass(frozen=True)
class Imported:
    """Examples of a file, and what became of the other runs in it.

    Args:
        examples: the examples.
        left_out: how many runs gave no example, by the reason: `failed`, `disliked` or `unrated`.
    """

    examples: list[Example]
    left_out: Mapping[str, int]


def import_examples(
    source: str | Path,
    *,
    mapping: TraceMapping | Mapping[str, Any] | str | Path,
    format: str | None = None,
    predictor: str | None = None,
) -> list[Example]:
    """Read examples from traces, or from a data set of another tool.

    A run becomes one example: the program's inputs, its outputs as labels, and further fields from
    the spans of its predictors. A correction replaces an output, and a run with a thumbs-down and
    no correction is left out. Failed runs are left out too.

    Args:
        source: the exported file, `.json` or `.jsonl`.
        mapping: says which span is which predictor, and where the fields are in it: a TOML or JSON
            file, or the same as a dict.
        format: `otlp` (OpenTelemetry), `langfuse`, `langsmith`, `mlflow`, `openai-evals` or
            `stored-completions`; by default as the mapping says.
        predictor: one of the mapping's predictors, of which each use becomes an example, with the
            predictor's inputs and outputs.

    Raises:
        DataError: if the file or the mapping is not valid, or a span lacks a field; the message
            names the file, the line or item, and the span.
    """
    return import_file(source, mapping=mapping, format=format, predictor=predictor).examples


def import_file(
    source: str | Path,
    *,
    mapping: TraceMapping | Mapping[str, Any] | str | Path,
    format: str | None = None,
    predictor: str | None = None,
) -> Imported:
    """Read examples like `import_examples`, and count the runs that gave none."""
    read_mapping, path = TraceMapping.of(mapping), Path(source).expanduser()
    name = format or read_mapping.format
    reader = _READERS.get(name or "")
    if reader is None:
        given = (
            f"{name!r} is not a format of traces" if name else "the format of the traces is missing"
        )
        raise DataError(f"{path}: {given}: choose one of {', '.join(_READERS)}")
    found = rows_of(reader(path), read_mapping, predictor, str(path))
    examples = []
    for place, row in found.rows:
        try:
            present = [field for field in found.inputs if field in row]
            examples.append(Example(**row).with_inputs(*present))
        except (DataError, TypeError) as error:
            raise DataError(f"{place}: {error}") from error
    if not examples and found.left_out:
        counts = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
        raise DataError(f"{path}: no run is left: {counts}; change [feedback] in the mapping")
    check_not_empty(str(path), examples)
    return Imported(examples, found.left_out)
