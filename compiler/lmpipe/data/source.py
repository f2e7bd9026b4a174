"""`Source`: where the examples of a set come from, and how many of them are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.data.example import Example
from lmpipe.data.reading import check_not_empty, read_examples, shuffled
from lmpipe.errors import DataError


@dataclass(frozen=True)
class Source:
    """Where examples are read from, when a compile needs them.

    Args:
        source: a JSONL, JSON, CSV or Parquet file, or the hub name of a data set.
        inputs: the fields that the program is given; the others are labels.
        split: the split of a hub data set.
        required: further fields that every row must have, such as those that the metric reads.
        rename: old field name → new one.
        convert: turns a row as it was read into the row that is wanted.
    """

    source: str | Path
    inputs: Sequence[str]
    split: str | None = None
    required: Sequence[str] = ()
    rename: Mapping[str, str] | None = None
    convert: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def read(self) -> list[Example]:
        """Read the examples.

        Raises:
            DataError: if a file or row is wrong; names the file and the line.
        """
        examples = read_examples(
            self.source,
            inputs=self.inputs,
            split=self.split,
            required=self.required,
            rename=self.rename,
        )
        if self.convert is None:
            return examples
        rows = [self.convert(example.to_json()) for example in examples]
        return [Example(**row).with_inputs(*self.inputs) for row in rows]


Data = Sequence[Example] | Source


def read_set(name: str, data: Data) -> list[Example]:
    """The examples of a set, which has at least one.

    Args:
        name: what the set is called, for messages.
        data: the examples, or where they are read from.

    Raises:
        DataError: if it cannot be read or is empty.
    """
    examples = data.read() if isinstance(data, Source) else list(data)
    check_not_empty(name, examples)
    return examples


def take(examples: list[Example], size: int | None, seed: int) -> list[Example]:
    """So many of the examples, drawn by the seed; None takes all.

    Raises:
        DataError: if there are fewer.
    """
    if size is None:
        return examples
    if size > len(examples):
        raise DataError(f"asked for {size} rows where there are {len(examples)}")
    return shuffled(examples, seed)[:size]
