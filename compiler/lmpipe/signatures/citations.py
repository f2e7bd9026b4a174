"""`Citation`, and `Cited`: signatures whose citations must be words of what the LM was shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any, Self

import pydantic
from pydantic import ConfigDict, Field
from pydantic_core import PydanticCustomError

from lmpipe.foundation.shorten import shorten
from lmpipe.signatures.field_types.document import Document
from lmpipe.signatures.field_types.parts import holds
from lmpipe.signatures.field_types.passage import Passage
from lmpipe.signatures.signature import Signature, spec_of


def _without_docstring(schema: dict[str, Any]) -> None:
    schema.pop("description", None)  # it is not for LMs


class Citation(pydantic.BaseModel):
    """Words of a passage that support an answer.

    Args:
        id: the id of the passage, or its number among those that were shown.
        quote: the words.
    """

    model_config = ConfigDict(frozen=True, defer_build=True, json_schema_extra=_without_docstring)

    id: str = Field(description="the id of the passage, or its number if it has none")
    quote: str = Field(min_length=1, description="words of the passage, copied exactly")

    @pydantic.field_validator("id", mode="before")
    @classmethod
    def _of_number(cls, value: Any) -> Any:
        return _without_brackets(str(value)) if type(value) in (int, str) else value


class Cited(Signature):
    """The base class of signatures whose outputs cite their inputs by `Citation`s.

    Each citation must name a `Passage` or `Document` of the inputs, and its quote must be in the
    text of that; spacing, case and the form of quotation marks do not count. An LM that cites
    something else is asked again with the error, like one whose reply has the wrong type.
    """

    @pydantic.model_validator(mode="after")
    def _check_citations(self) -> Self:
        spec = spec_of(type(self))
        sources = _sources(getattr(self, name) for name in spec.input_names)
        for name in spec.output_names:
            for place, citation in _citations(getattr(self, name), name):
                if problem := _problem(citation, sources):
                    raise PydanticCustomError(
                        "citation", "{found}", {"found": f"{place}: {problem}"}
                    )
        return self


def _problem(citation: Citation, sources: Mapping[str, str]) -> str:
    """Say what is wrong with a citation; empty if it is right."""
    source = sources.get(citation.id)
    if source is None:
        known = ", ".join(map(repr, sources)) or "none"
        return f"there is no passage with the id {citation.id!r}; the ids are {known}"
    quote = _spelled(citation.quote)
    if not quote or quote not in _spelled(source):
        return (
            f"the quote {shorten(citation.quote, 100)!r} is not in the passage {citation.id!r}; "
            "copy words of it exactly"
        )
    return ""


def cited_output(signature: type[Signature]) -> str:
    """The output of a `Cited` signature that is a list of citations; empty if there is not one.

    There must be another output to write, and inputs to cite.
    """
    if not issubclass(signature, Cited):
        return ""
    spec = spec_of(signature)
    lists = [field.name for field in spec.outputs if field.annotation == list[Citation]]
    sources = [field for field in spec.inputs if holds(field.annotation, _is_source)]
    return lists[0] if len(lists) == 1 and len(spec.outputs) > 1 and sources else ""


def _is_source(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Passage | Document)


def ids_of_sources(values: Iterable[Any]) -> dict[tuple[str, str], str]:
    """The id of each passage that can be cited, or its number, by its title and text."""
    ids: dict[tuple[str, str], str] = {}
    for name, source in _named_sources(values):
        ids.setdefault((source.title, source.text), name)
    return ids


def _sources(values: Iterable[Any]) -> dict[str, str]:
    """The text of each passage that can be cited, by its id, else by its number."""
    sources: dict[str, str] = {}
    for name, source in _named_sources(values):
        sources.setdefault(name, f"{source.title}\n{source.text}")
    return sources


def _named_sources(values: Iterable[Any]) -> Iterator[tuple[str, Passage | Document]]:
    for value in values:
        for number, source in enumerate(_found(value, Passage | Document), start=1):
            name = source.id if isinstance(source, Passage) else source.source or source.title
            yield _without_brackets(name) or str(number), source


def _citations(value: Any, place: str) -> Iterator[tuple[str, Citation]]:
    """Yield the citations in an output, with the place of each."""
    if isinstance(value, Citation):
        yield place, value
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for number, item in enumerate(value):
            yield from _citations(item, f"{place}[{number}]")
    else:
        for name, item in _members(value):
            yield from _citations(item, f"{place}.{name}")


def _found(value: Any, kinds: Any) -> Iterator[Any]:
    """Yield the passages and documents in an input, in order."""
    if isinstance(value, kinds):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _found(item, kinds)
    else:
        for _, item in _members(value):
            yield from _found(item, kinds)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a mapping, and the fields of a model or a dataclass."""
    if isinstance(value, Mapping):
        yield from ((str(name), item) for name, item in value.items())
    elif isinstance(value, pydantic.BaseModel):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((item.name, getattr(value, item.name)) for item in dataclass_fields(value))


def _without_brackets(name: str) -> str:
    """LMs like to write the number of a passage as it stands before it: `[2]`."""
    return name.strip().removeprefix("[").removesuffix("]").strip()


# Quotation marks and dashes of typography, by their numbers in Unicode.
_MARKS: dict[int, str] = dict.fromkeys((0x201C, 0x201D, 0x201E, 0xAB, 0xBB), '"')
_MARKS |= dict.fromkeys((0x2018, 0x2019, 0x201A), "'")
_MARKS |= dict.fromkeys((0x2013, 0x2014), "-")
_AROUND = " .\"'"


def _spelled(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).translate(_MARKS).casefold()
    return re.sub(r"\s+", " ", folded).strip(_AROUND)
