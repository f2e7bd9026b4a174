"""Read the passages of a corpus from what users have: texts, documents, rows, JSONL files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import JsonValue

from lmpipe.data.example import jsonable
from lmpipe.data.formats import read_jsonl
from lmpipe.errors import DataError
from lmpipe.foundation.shorten import repr_without_data
from lmpipe.signatures.field_types.document import Document
from lmpipe.signatures.field_types.passage import Passage

# A text, a document, or a mapping with the fields of a passage; others become its metadata.
AnyPassage: TypeAlias = str | Passage | Document | Mapping[str, JsonValue]

# A corpus may be given as a path of a JSONL file with one mapping per line.
Corpus: TypeAlias = Iterable[AnyPassage] | Path

_FIELDS = ("text", "id", "score", "title")


def read_corpus(corpus: Corpus) -> tuple[Passage, ...]:
    """Read a corpus. Passages without an id get their position in the corpus as one.

    Raises:
        DataError: if it is empty, an item is not a passage, or two passages have the same id.
    """
    if isinstance(corpus, str | Mapping | Passage | Document):
        shown = repr_without_data(corpus, 100)
        raise DataError(f"{shown} is one passage; give a list, or pathlib.Path(…) of a JSONL file")
    if isinstance(corpus, Path):
        items = (_placed(place, row) for place, row in read_jsonl(corpus))
    else:
        items = (_placed(f"passage {place}", item) for place, item in enumerate(corpus))
    passages: dict[str, Passage] = {}
    for position, passage in enumerate(items):
        name = passage.id or str(position)
        if name in passages:
            raise DataError(f"two passages have the id {name!r}; an id names one passage")
        passages[name] = dataclasses.replace(passage, id=name, score=0.0)
    if not passages:
        raise DataError("the corpus has no passages; give one or more")
    return tuple(passages.values())


def passage_of(item: Any) -> Passage:
    """Return a passage, which may be given as `AnyPassage`.

    Raises:
        DataError: if it is anything else, or lacks a text.
    """
    if isinstance(item, Passage):
        return item
    if isinstance(item, str):
        return Passage(item)
    if isinstance(item, Document):
        metadata: dict[str, JsonValue] = {"source": item.source} if item.source else {}
        return Passage(item.text, title=item.title, metadata=metadata)
    if not isinstance(item, Mapping):
        raise DataError(f"not a passage: {repr_without_data(item, 100)}; give a text or a Passage")
    return _of_mapping(item)


def _of_mapping(row: Mapping[str, Any]) -> Passage:
    values = {name: row.get(name, "") for name in ("text", "id", "title")}
    if type(values["id"]) is int:
        values["id"] = str(values["id"])
    for name, value in values.items():
        if not isinstance(value, str) or (name == "text" and not value):
            shown = repr_without_data(row, 200)
            raise DataError(f"a passage needs {name!r} as a text, got {shown}")
    score = row.get("score", 0.0)
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise DataError(f"the score of a passage is a number, got {score!r:.100}")
    given = row.get("metadata", {})
    rest = {key: jsonable(row[key]) for key in row if key not in (*_FIELDS, "metadata")}
    if not isinstance(given, Mapping):
        raise DataError(f"the metadata of a passage are a mapping, got {given!r:.100}")
    metadata = {**{key: jsonable(value) for key, value in given.items()}, **rest}
    return Passage(**values, score=float(score), metadata=metadata)


def _placed(place: str, item: Any) -> Passage:
    try:
        return passage_of(item)
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
