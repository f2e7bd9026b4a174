"""Write a user turn whose inputs hold media: texts and media as parts of one message.

A layout writes text. Each medium is first replaced by a mark, a word that occurs nowhere else, so
that any layout can write it; then the text is cut at the marks. A medium that is an input by itself
stands in its place. One inside of JSON is named there (`<image 1>`) and follows the text below its
name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pydantic

from lmpipe.errors import CallError
from lmpipe.foundation.media import MediaKind, medium_in
from lmpipe.foundation.shorten import short_repr
from lmpipe.layouts.parse_values import Written, WrittenItems, json_text
from lmpipe.lm.parts import DocumentPart, Part, TextPart
from lmpipe.lm.read_messages import media_part
from lmpipe.signatures.field_types.document import Document
from lmpipe.signatures.field_types.media import Audio, File, Image, Medium
from lmpipe.signatures.field_types.parts import HasParts, has_parts
from lmpipe.signatures.field_types.passage import Passage
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec

if TYPE_CHECKING:
    from lmpipe.layouts.layout import Layout

_CLASSES: Mapping[MediaKind, type[Medium]] = {"image": Image, "audio": Audio, "file": File}


def content_with_parts(
    layout: Layout, spec: SignatureSpec, inputs: Mapping[str, Any], *, documents: bool = False
) -> str | tuple[Part, ...]:
    """Write the inputs of a user turn as parts of a message; as text if they hold no medium.

    `documents` says whether documents and passages are parts as well, which the provider cites.
    """
    text, values, marks = _write(layout, spec, inputs, _Marks(documents=documents))
    if not marks.are_all_in(text):  # an input has a word that looks like a mark
        unlike = _Marks.unlike(text, documents=documents)
        text, values, marks = _write(layout, spec, inputs, unlike)
        assert marks.are_all_in(text), f"the layout {layout.name} drops or repeats an input"
    if not marks.media:
        return text
    written = [value for value in values.values() if isinstance(value, Written | WrittenItems)]
    in_json = [found for found in map(json_text, written) if found in text]
    named = marks.nested.union(*map(marks.numbers, in_json))
    return _parts(text, marks, named)


def _write(
    layout: Layout, spec: SignatureSpec, inputs: Mapping[str, Any], marks: _Marks
) -> tuple[str, dict[str, Any], _Marks]:
    """Write the inputs with marks in place of media; return them, as written, as well."""
    values = {**inputs}
    for item in spec.fields_with_parts:
        if values.get(item.name) is not None:
            values[item.name] = _marked(item, values[item.name], marks)
    return layout.user(spec, values), values, marks


@dataclass
class _Marks:
    """The media that were taken out of the inputs of a turn, by the numbers of their marks.

    Args:
        stem: what marks begin with.
        documents: whether documents and passages are taken out, too.
        media: the media.
        nested: the numbers of those inside of a JSON value.
    """

    stem: str = "medium"
    documents: bool = False
    media: list[Medium | DocumentPart] = field(default_factory=list)
    nested: set[int] = field(default_factory=set)

    @staticmethod
    def unlike(text: str, *, documents: bool) -> _Marks:
        """Make marks that are not in a text."""
        runs = re.findall(r"medium(x*)q", text)
        stem = f"medium{'x' * (1 + max(map(len, runs), default=0))}"
        return _Marks(stem, documents)

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(rf"{self.stem}q([0-9]{{1,6}})q")

    def add(self, medium: Medium | DocumentPart, *, nested: bool) -> str:
        """Take a medium out, and return its mark."""
        if nested:
            self.nested.add(len(self.media))
        self.media.append(medium)
        return f"{self.stem}q{len(self.media) - 1}q"

    def write(self, value: HasParts, *, nested: bool) -> str:
        """Write the parts that show a value as a text, with marks for the media."""
        if self.documents and isinstance(value, Document | Passage):
            return self.add(_document_part(value), nested=nested)
        texts: list[str] = []
        for part in value.to_parts():
            if not isinstance(part, str | Medium):
                raise CallError(
                    f"{type(value).__name__}.to_parts() gave {short_repr(part)}: give texts, "
                    "images, sounds and files"
                )
            texts.append(part if isinstance(part, str) else self.add(part, nested=nested))
        return "".join(texts)

    def are_all_in(self, text: str) -> bool:
        """Whether a text has each mark once, and no others."""
        found = sorted(map(int, self.pattern.findall(text)))
        return found == list(range(len(self.media)))

    def numbers(self, text: str) -> set[int]:
        """The numbers of the marks in a text."""
        return set(map(int, self.pattern.findall(text)))


def _document_part(value: Document | Passage) -> DocumentPart:
    source = value.id if isinstance(value, Passage) else value.source
    return DocumentPart(value.text, value.title, source)


def _marked(item: FieldSpec, value: Any, marks: _Marks) -> Any:
    """Replace what a JSON value of a field shows as parts by texts with marks."""
    if item.may_show_itself:
        try:
            typed = item.typed(value)
        except pydantic.ValidationError:
            typed = None  # a demonstration may have a value that no call can have
        if typed is not None and has_parts(typed):
            return Written(marks.write(typed, nested=False))
        if isinstance(typed, list | tuple) and typed and all(map(_shows_itself, typed)):
            return WrittenItems([marks.write(each, nested=False) for each in typed])
        value = _write_nested(typed, value, marks)
    if medium := _medium(value):
        return Written(marks.add(medium, nested=False))
    return _mark_media(value, marks)


def _shows_itself(value: Any) -> bool:
    return has_parts(value) and not isinstance(value, Medium)


def _mark_media(value: Any, marks: _Marks) -> Any:
    if medium := _medium(value):
        return marks.add(medium, nested=True)
    if isinstance(value, Mapping):
        return {key: _mark_media(item, marks) for key, item in value.items()}
    if isinstance(value, list):
        return [_mark_media(item, marks) for item in value]
    return value


def _medium(value: Any) -> Medium | None:
    found = medium_in(value)
    return _CLASSES[found[0]].model_validate(value) if found else None


def _write_nested(typed: Any, value: Any, marks: _Marks) -> Any:
    """Replace values that say what parts they are, inside of a JSON value, by their texts."""
    if _shows_itself(typed):
        return marks.write(typed, nested=True)
    if isinstance(typed, pydantic.RootModel):
        return _write_nested(typed.root, value, marks)
    if isinstance(value, list) and isinstance(typed, list | tuple):
        pairs = zip(typed, value, strict=False)
        return [_write_nested(inner, item, marks) for inner, item in pairs]
    if isinstance(value, dict) and isinstance(typed, Mapping):
        inners = zip(typed.values(), value.items(), strict=False)
        return {key: _write_nested(inner, item, marks) for inner, (key, item) in inners}
    if isinstance(value, dict):
        members = _members(typed)
        return {key: _write_nested(members.get(key), item, marks) for key, item in value.items()}
    return value


def _members(typed: Any) -> dict[str, Any]:
    """The fields of a model or a dataclass, also by their aliases."""
    fields = getattr(type(typed), "__pydantic_fields__", {})
    members = dict(getattr(typed, "__dict__", {}))
    return {
        **{info.alias: members.get(name) for name, info in fields.items() if info.alias},
        **members,
    }


def _parts(text: str, marks: _Marks, named: set[int]) -> tuple[Part, ...]:
    """Cut a text at its marks; media that are named in it follow it."""
    pieces: list[str | Medium | DocumentPart] = []
    after: list[str | Medium | DocumentPart] = []
    counts: Counter[str] = Counter()
    for place, piece in enumerate(marks.pattern.split(text)):
        if place % 2 == 0:
            pieces.append(piece)
            continue
        medium = marks.media[int(piece)]
        if int(piece) not in named:
            pieces.append(medium)
            continue
        counts[medium.kind] += 1
        name = f"<{medium.kind} {counts[medium.kind]}>"
        pieces.append(name)
        after += [f"\n\n{name}\n", medium]
    return _joined([*pieces, *after])


def _joined(pieces: Sequence[str | Medium | DocumentPart]) -> tuple[Part, ...]:
    """Make parts, with neighbouring texts as one; providers refuse texts of blanks only."""
    parts: list[Part] = []
    texts: list[str] = []
    for piece in (*pieces, None):
        if isinstance(piece, str):
            texts.append(piece)
            continue
        if "".join(texts).strip():
            parts.append(TextPart("".join(texts)))
        texts.clear()
        if piece is not None:
            parts.append(piece if isinstance(piece, DocumentPart) else media_part(piece))
    return tuple(parts)
