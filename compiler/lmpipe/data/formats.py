"""Read rows from JSONL, JSON, CSV, TSV and Parquet files, and from data sets on the hub.

Every reader yields `(place, row)`: where the row is, such as `train.jsonl:12`, for error messages,
and its fields. Problems are `DataError`s that name this place.
"""

from __future__ import annotations

import codecs
import csv
import importlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from lmpipe.errors import ConfigError, DataError
from lmpipe.foundation.exact_json import load_json
from lmpipe.foundation.shorten import short_repr

PlacedRow = tuple[str, dict[str, Any]]

_MAX_CELL = 2**31 - 1  # characters; the largest limit that all platforms take
_MAX_SHOWN = 80  # characters of a value in a message


def read_jsonl(path: Path) -> Iterator[PlacedRow]:
    """Read a JSON object from each line that is not blank."""
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            row = load_json(line)
        except orjson.JSONDecodeError as error:
            raise DataError(
                f"{place}: expected one JSON object, got {short_repr(line.strip(), _MAX_SHOWN)} "
                f"({error.msg} at column {error.colno})"
            ) from error
        yield place, _check_object(place, row)


def read_json(path: Path) -> Iterator[PlacedRow]:
    """Read a list of JSON objects; an empty file has no rows."""
    text = "".join(_read_lines(path))
    if not text.strip():
        return
    try:
        rows = load_json(text)
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: is not JSON ({error.msg} at column {error.colno}); if the "
            "file has one object per line, give it a name that ends in .jsonl"
        ) from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of objects, got {_describe(rows)}")
    for number, row in enumerate(rows, start=1):
        place = f"{path}: item {number}"
        yield place, _check_object(place, row)


def read_csv(path: Path, *, delimiter: str = ",") -> Iterator[PlacedRow]:
    """Read delimited text whose first row names the fields; all values are strings."""
    # By default, Python refuses longer values than 131,072 characters.
    csv.field_size_limit(max(_MAX_CELL, csv.field_size_limit()))
    reader = csv.reader(_read_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    last = 0
    while True:
        place = f"{path}:{last + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{place}: is not a valid {path.suffix} row ({error}); check its quotes, or use "
                "JSONL"
            ) from error
        if row is None:
            return
        last = reader.line_num
        if not row:
            continue
        if header is None:
            header = row
            twice = [name for name in header if header.count(name) > 1]
            if twice:
                raise DataError(f"{place}: the header has {twice[0]!r} twice; rename a column")
        elif len(row) != len(header):
            raise DataError(
                f"{place}: expected {len(header)} columns ({', '.join(header)}), got {len(row)}; "
                "quote values that contain the separator"
            )
        else:
            yield place, dict(zip(header, row, strict=True))


def read_parquet(path: Path) -> Iterator[PlacedRow]:
    """Read a Parquet file.

    Raises:
        ConfigError: if pyarrow is not installed.
    """
    parquet = _import("pyarrow.parquet", f"{path}: reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"{path}: row {number}", row
    except (ValueError, OSError) as error:  # pyarrow's errors are subclasses of these
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def read_hub(source: str, split: str | None) -> Iterator[PlacedRow]:
    """Read a data set from the hub: `name`, `name:split` or `name:config:split`.

    Raises:
        ConfigError: if the package datasets is not installed.
    """
    datasets = _import("datasets", f"{source!r} is not a file; reading it from the hub")
    name, *rest = source.split(":")
    if rest and split is not None and rest[-1] != split:
        raise DataError(
            f"{source!r} names the split {rest[-1]!r}, but split= is {split!r}; give only one"
        )
    chosen = rest[-1] if rest else split
    config = rest[0] if len(rest) > 1 else None
    try:
        rows = datasets.load_dataset(name, config, split=chosen)
    except (ValueError, OSError, RuntimeError) as error:
        raise DataError(f"the data set {source!r} cannot be loaded: {error}") from error
    if isinstance(rows, dict):
        if len(rows) != 1:
            raise DataError(f"{name!r} has several splits: give split=, one of: {', '.join(rows)}")
        chosen, rows = next(iter(rows.items()))
    for number, row in enumerate(rows, start=1):
        yield f"{name}:{chosen}: row {number}", dict(row)


FILE_READERS: dict[str, Callable[[Path], Iterator[PlacedRow]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": partial(read_csv, delimiter="\t"),
    ".parquet": read_parquet,
}


def _read_lines(path: Path) -> Iterator[str]:
    """Read the lines of a UTF-8 file, without a byte order mark."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                try:
                    yield line.decode()
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}:{number}: is not UTF-8 (byte {line[error.start]:#04x} at column "
                        f"{error.start + 1}); save the file as UTF-8"
                    ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _check_object(place: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(
            f'{place}: expected an object such as {{"question": "…"}}, got {_describe(row)}'
        )
    return row


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the fields {', '.join(value) or 'none'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return short_repr(value, _MAX_SHOWN)


def _import(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{what} needs a package that is not installed: pip install 'lmpipe[datasets]'"
        ) from error
