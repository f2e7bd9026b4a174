"""`read_examples`: read and check the examples of a file or of a data set on the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any

from lmpipe.data.example import Example, missing_field
from lmpipe.data.formats import FILE_READERS, PlacedRow, read_hub
from lmpipe.data.media_rows import with_media
from lmpipe.data.splits import check_not_empty
from lmpipe.errors import DataError
from lmpipe.foundation.checks import check_number

_MAX_DEPTH = 200  # of lists and objects in each other; JSON can be written up to 254

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+){0,2}")


def read_examples(
    source: str | Path,
    *,
    inputs: Sequence[str],
    limit: int | None = None,
    split: str | None = None,
    rename: Mapping[str, str] | None = None,
    required: Sequence[str] = (),
    optional: Sequence[str] = (),
    media: bool = True,
) -> list[Example]:
    """Read examples from a file or from a data set on the hub.

    In an input, a value such as `{"image": {"path": "photos/1.png"}}` (or `audio`, or `file`) is
    read from that file, whose path is relative to the data file. Images of data sets on the hub
    are read too.

    Args:
        source: a `.jsonl`, `.json` (a list of objects), `.csv`, `.tsv` or `.parquet` file in
            UTF-8; otherwise the name of a data set on the hub: `name`, `name:split` or
            `name:config:split`. Values of CSV and TSV files are strings.
        inputs: the fields that are passed to the program.
        limit: the maximum number of rows to read, 1 or more; None reads all.
        split: the split of a data set on the hub.
        rename: old field name → new field name, applied first.
        required: further fields that every row must have, such as those that the metric reads.
        optional: the inputs that rows may lack: the program's default is used for them.
        media: whether paths of images, sounds and files are read; False leaves them as they are.

    Raises:
        DataError: if an argument, the file, a line or a row is not valid.
        ConfigError: if the source needs a package that is not installed.
    """
    lists = (("inputs", inputs), ("required", required), ("optional", optional))
    for name, value in lists:
        if isinstance(value, str):
            raise DataError(f"{name} is the text {value!r}; give a list: {name}=[{value!r}]")
    check_number(
        "read_examples", "limit", limit, minimum=1, integer=True, optional=True, error=DataError
    )
    path = Path(source).expanduser()
    folder = path.parent if path.is_file() else None
    examples = []
    for place, row in islice(_read_rows(source, split), limit):
        try:
            _check_depth(row)
            example = _to_example(row, required, rename or {})
            if media:
                example = _with_media(example, inputs, folder)
            examples.append(with_present_inputs(example, inputs, optional))
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
    check_not_empty(str(source), examples)
    return examples


def _read_rows(source: str | Path, split: str | None) -> Iterator[PlacedRow]:
    """Choose between a file and the hub, and start to read."""
    path = Path(source).expanduser()
    reader = FILE_READERS.get(path.suffix.lower())
    if path.is_file():
        if split is not None:
            raise DataError(f"{path}: split={split!r} is for data sets on the hub, not for files")
        if reader is None:
            raise DataError(
                f"{path}: expected a name that ends in {', '.join(FILE_READERS)}; rename the file "
                "or convert it"
            )
        return reader(path)
    looks_like_path = isinstance(source, Path) or reader is not None or source.startswith(".")
    if looks_like_path or _HUB_NAME.fullmatch(str(source)) is None:
        what = "is a folder; give a file in it" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what} (in {Path.cwd()})")
    return read_hub(str(source), split)


def _with_media(example: Example, inputs: Sequence[str], folder: Path | None) -> Example:
    """Read the images of the inputs of an example."""
    plain = (str, int, float, NoneType)
    given = {name: example[name] for name in inputs if not isinstance(example.get(name), plain)}
    if not given:
        return example
    try:
        return example.copy(**with_media(given, folder))
    except DataError as error:
        raise DataError(f"{error}; media=False leaves such values as they are") from error


def _check_depth(row: Mapping[str, Any]) -> None:
    """Refuse a row that could be neither hashed nor written again."""
    for name, value in row.items():
        level, depth = [value], 0
        while level := [item for value in level for item in _items(value)]:
            depth += 1
            if depth > _MAX_DEPTH:
                raise DataError(
                    f"field {name!r} is nested more than {_MAX_DEPTH} levels deep; give it as text"
                )


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def with_present_inputs(
    example: Example, inputs: Sequence[str], optional: Sequence[str]
) -> Example:
    """Return the example with its inputs, except optional ones that it lacks."""
    for name in inputs:
        if name not in example and name not in optional:
            raise DataError(
                f"{missing_field(name, example)}; if the program has a default for it, add "
                f"optional=[{name!r}]"
            )
    return example.with_inputs(*[name for name in inputs if name in example])


def _to_example(row: dict[str, Any], required: Sequence[str], rename: Mapping[str, str]) -> Example:
    for old, new in rename.items():
        if old not in row:
            raise DataError(f"rename {old!r} to {new!r}: {missing_field(old, row)}")
    kept = [name for name in row if name not in rename]
    clash = next((new for new in rename.values() if new in kept), None)
    if clash is not None:
        raise DataError(f"rename to {clash!r}: the row already has a field of that name")
    named = {rename.get(name, name): value for name, value in row.items()}
    for name in required:
        if name not in named:
            raise DataError(missing_field(name, named))
    return Example(**named)
