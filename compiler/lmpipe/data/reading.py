"""Reading, fingerprinting and splitting data.

Rows come from JSONL, JSON, CSV, TSV and Parquet files and from the hub; whatever is wrong with a
row is a `DataError` that names the file and the line.
"""

from __future__ import annotations

import codecs
import csv
import importlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import orjson

from lmpipe.data.example import Example, missing_field
from lmpipe.errors import ConfigError, DataError
from lmpipe.foundation.canonical_json import digest
from lmpipe.foundation.checks import check_number, check_numbers

# A row and where it stands, for messages: `train.jsonl:12`.
_Row = tuple[str, dict[str, Any]]

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+){0,2}")


def read_examples(
    source: str | Path,
    *,
    inputs: Sequence[str],
    limit: int | None = None,
    split: str | None = None,
    rename: Mapping[str, str] | None = None,
    required: Sequence[str] = (),
) -> list[Example]:
    """Read rows from a file, or from a data set on the hub.

    Args:
        source: a `.jsonl`, `.json` (a list of objects), `.csv`, `.tsv` or `.parquet` file in
            UTF-8; otherwise the name of a data set on the hub: `name`, `name:split` or
            `name:config:split`. Values of CSV and TSV files are text.
        inputs: the fields that the program is given.
        limit: read no more than this many rows.
        split: the split of a data set on the hub.
        rename: old field name → new one, done first.
        required: further fields that every row must have, such as those that the metric reads.

    Raises:
        DataError: if the file, a line or a row is not as expected.
        ConfigError: if the source needs a package that is not installed.
    """
    for name, value in (("inputs", inputs), ("required", required)):
        if isinstance(value, str):
            raise DataError(f"{name} is the text {value!r}; give a list: {name}=[{value!r}]")
    check_number(
        "read_examples", "limit", limit, minimum=1, integer=True, optional=True, error=DataError
    )
    examples = []
    for where, row in islice(_rows(source, split), limit):
        try:
            examples.append(_example(row, inputs, required, rename or {}))
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    check_not_empty(str(source), examples)
    return examples


def fingerprint(examples: Sequence[Example]) -> str:
    """Hash rows in their order: 64 hexadecimal digits."""
    return digest([example.fingerprint() for example in examples])


def check_not_empty(name: str, examples: Sequence[Example]) -> None:
    """Raise DataError if there are no rows."""
    if not examples:
        raise DataError(f"{name} has no rows; expected at least one")


def check_disjoint(**splits: Sequence[Example]) -> None:
    """Raise DataError if two splits share a row; rows are the same when their inputs are."""
    places = {name: _first_places(examples) for name, examples in splits.items()}
    for one, other in combinations(splits, 2):
        shared = [key for key in places[other] if key in places[one]]
        if shared:
            first = places[one][shared[0]]
            raise DataError(
                f"{one} and {other} share {len(shared)} "
                f"{'row' if len(shared) == 1 else 'rows'} with the same inputs; the first is row "
                f"{first + 1} of {one} and row {places[other][shared[0]] + 1} of {other}: "
                f"{_short(dict(splits[one][first].inputs))}; take them out of one of the two "
                "(distinct_examples(rows) before split(rows, …) does so)"
            )


def distinct_examples(examples: Sequence[Example]) -> list[Example]:
    """Keep the first of all rows that have the same inputs."""
    return [examples[place] for place in _first_places(examples).values()]


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the rows in an order that depends on the seed alone."""
    order = list(examples)
    random.Random(seed).shuffle(order)
    return order


def split(
    examples: Sequence[Example],
    *,
    sizes: Sequence[int] | None = None,
    fractions: Sequence[float] | None = None,
    seed: int,
) -> tuple[list[Example], ...]:
    """Shuffle rows and deal them into parts; what the parts do not ask for is left out.

    Args:
        examples: the rows.
        sizes: rows in each part.
        fractions: share of the rows in each part; give either this or sizes.
        seed: the same seed deals the same parts.

    Raises:
        DataError: if a part would be empty or the parts ask for more rows than there are.
    """
    if (sizes is None) == (fractions is None):
        raise DataError("split needs sizes=(…) or fractions=(…), one of the two")
    total = len(examples)
    if sizes is not None:
        check_numbers("split", "sizes", sizes, minimum=1, integer=True, error=DataError)
    if fractions is not None:
        check_numbers("split", "fractions", fractions, above=0, maximum=1, error=DataError)
        if not 0 < sum(fractions) <= 1 + 1e-9:
            raise DataError(f"fractions {tuple(fractions)} sum to {sum(fractions)}; at most 1")
        ends = [round(sum(fractions[: i + 1]) * total) for i in range(len(fractions))]
        sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    wanted = list(sizes or ())
    if sum(wanted) > total:
        raise DataError(f"sizes {tuple(wanted)} ask for {sum(wanted)} rows, there are {total}")
    if not wanted or min(wanted) < 1:
        raise DataError(f"{total} rows make parts of {tuple(wanted)}; each part needs a row")
    rows = iter(shuffled(examples, seed))
    return tuple(list(islice(rows, size)) for size in wanted)


def _first_places(examples: Sequence[Example]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, example in enumerate(examples):
        values = example.to_json()
        places.setdefault(digest({name: values[name] for name in example.inputs}), place)
    return places


def _short(value: Any, *, most: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _example(
    row: dict[str, Any],
    inputs: Sequence[str],
    required: Sequence[str],
    rename: Mapping[str, str],
) -> Example:
    for old, new in rename.items():
        if old not in row:
            raise DataError(f"rename {old!r} to {new!r}: {missing_field(old, row)}")
    kept = [name for name in row if name not in rename]
    clash = next((new for new in rename.values() if new in kept), None)
    if clash is not None:
        raise DataError(f"rename to {clash!r}: the row has a field of that name already")
    named = {rename.get(name, name): value for name, value in row.items()}
    for name in (*inputs, *required):
        if name not in named:
            raise DataError(missing_field(name, named))
    return Example(**named).with_inputs(*inputs)


def _rows(source: str | Path, split: str | None) -> Iterator[_Row]:
    path = Path(source).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if path.is_file():
        if split is not None:
            raise DataError(f"{path}: split={split!r} is for data sets on the hub, not for files")
        if reader is None:
            raise DataError(
                f"{path}: expected a name that ends in {', '.join(_READERS)}; rename the file or "
                "convert it"
            )
        return reader(path)
    looks_like_path = (
        isinstance(source, Path)
        or reader is not None
        or _HUB_NAME.fullmatch(source) is None
        or source.startswith(".")
    )
    if looks_like_path:
        what = "is a folder, name a file in it" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what} (in {Path.cwd()})")
    return _hub_rows(str(source), split)


def _lines(path: Path) -> Iterator[str]:
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


def _jsonl_rows(path: Path) -> Iterator[_Row]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(
                f"{where}: expected one JSON object, came {_short(line.strip(), most=80)} "
                f"({error.msg} at column {error.colno})"
            ) from error
        yield where, _object(where, row)


def _json_rows(path: Path) -> Iterator[_Row]:
    text = "".join(_lines(path))
    if not text.strip():
        return
    try:
        rows = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: is not JSON ({error.msg} at column {error.colno}); a file "
            "with one object on each line needs a name that ends in .jsonl"
        ) from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of objects, came {_kind(rows)}")
    for number, row in enumerate(rows, start=1):
        where = f"{path}: item {number}"
        yield where, _object(where, row)


def _object(where: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(
            f'{where}: expected an object such as {{"question": "…"}}, came {_kind(row)}'
        )
    return row


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the fields {', '.join(value) or 'none'}"
    return f"a list of {len(value)}" if isinstance(value, list) else _short(value, most=80)


def _csv_rows(path: Path, *, delimiter: str = ",") -> Iterator[_Row]:
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    last = 0
    while True:
        where = f"{path}:{last + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{where}: is no row of {path.suffix} ({error}); check its quotes, or use JSONL"
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
                raise DataError(f"{where}: the header has {twice[0]!r} twice; rename a column")
        elif len(row) != len(header):
            raise DataError(
                f"{where}: expected {len(header)} columns ({', '.join(header)}), came {len(row)}; "
                "quote values that hold the separator"
            )
        else:
            yield where, dict(zip(header, row, strict=True))


def _tsv_rows(path: Path) -> Iterator[_Row]:
    return _csv_rows(path, delimiter="\t")


def _parquet_rows(path: Path) -> Iterator[_Row]:
    parquet = _extra("pyarrow.parquet", f"{path}: reading Parquet")
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row
    except (ValueError, OSError) as error:  # pyarrow's own errors are subclasses of these
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def _hub_rows(source: str, split: str | None) -> Iterator[_Row]:
    datasets = _extra("datasets", f"{source!r} is no file, so it names a data set on the hub; that")
    name, *rest = source.split(":")
    if rest and split is not None and rest[-1] != split:
        raise DataError(f"{source!r} names the split {rest[-1]!r}, split= says {split!r}; drop one")
    chosen = rest[-1] if rest else split
    config = rest[0] if len(rest) > 1 else None
    try:
        rows = datasets.load_dataset(name, config, split=chosen)
    except (ValueError, OSError, RuntimeError) as error:
        raise DataError(f"the data set {source!r} cannot be loaded: {error}") from error
    if isinstance(rows, dict):
        if len(rows) != 1:
            raise DataError(f"which split of {name!r}? Give split=, one of: {', '.join(rows)}")
        chosen, rows = next(iter(rows.items()))
    for number, row in enumerate(rows, start=1):
        yield f"{name}:{chosen}: row {number}", dict(row)


def _extra(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{what} needs a package that is not installed: pip install 'lmpipe[datasets]'"
        ) from error


_READERS = {
    ".jsonl": _jsonl_rows,
    ".json": _json_rows,
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".parquet": _parquet_rows,
}
