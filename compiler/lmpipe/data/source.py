"""`Source`: where the examples of a compile are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.data.example import Example
from lmpipe.data.reading import read_examples, with_present_inputs
from lmpipe.data.splits import check_examples, check_not_empty
from lmpipe.errors import DataError
from lmpipe.foundation.foreign import native


@dataclass(frozen=True)
class Source:
    """Examples that are read when a compile or an evaluation needs them.

    Args:
        source: a JSONL, JSON, CSV, TSV or Parquet file, or the name of a data set on the hub.
        inputs: the fields that are passed to the program; the others are labels.
        split: the split of a data set on the hub.
        required: further fields that every row must have, such as those that the metric reads.
        rename: old field name → new field name.
        convert: maps the fields of a row as it was read to the fields of the example.
        optional: the inputs that rows may lack: the program's default is used for them.
        media: whether paths of images, sounds and files are read; False leaves them as they are.
    """

    source: str | Path
    inputs: Sequence[str]
    split: str | None = None
    required: Sequence[str] = ()
    rename: Mapping[str, str] | None = None
    convert: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    optional: Sequence[str] = ()
    media: bool = True

    def read(self) -> list[Example]:
        """Read the examples.

        Raises:
            DataError: if the file or a row is not valid; names the file and the line.
        """
        examples = read_examples(
            self.source,
            inputs=self.inputs,
            split=self.split,
            required=self.required,
            rename=self.rename,
            optional=self.optional,
            media=self.media,
        )
        if self.convert is None:
            return examples
        rows = [self.convert(example.to_json()) for example in examples]
        return [self._to_example(number, row) for number, row in enumerate(rows, start=1)]

    def _to_example(self, number: int, row: object) -> Example:
        place = f"{self.source}: row {number}, as convert= returned it"
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected a dict of fields, got {type(row).__name__}")
        try:
            return with_present_inputs(Example(**row), self.inputs, self.optional)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error


Data = Sequence[Example] | Source


def load_examples(name: str, data: Data) -> list[Example]:
    """Read a set of examples, or copy one that is in memory; `name` is for error messages.

    Raises:
        DataError: if it cannot be read, is empty, or has other rows than examples with inputs.
    """
    if isinstance(data, Source):
        try:
            return data.read()
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    if isinstance(data, str | Path):
        raise DataError(f"{name} is {data!r}: give lmpipe.Source({str(data)!r}, inputs=[…])")
    if not isinstance(data, Iterable):
        raise DataError(f"{name} is {data!r:.80}: give a list of examples, or lmpipe.Source(…)")
    examples = [native(row) for row in data]
    check_not_empty(name, examples)
    check_examples(name, examples)
    for number, example in enumerate(examples, start=1):
        try:
            _ = example.inputs
        except DataError as error:
            raise DataError(f"{name}: row {number}: {error}") from error
    return examples
