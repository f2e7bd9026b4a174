"""The two layouts that write fields as text: `chat` with field markers, and `plain`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from lmpipe.layouts.grammar import reply_grammar
from lmpipe.layouts.layout import LayoutError, Reading
from lmpipe.layouts.parse_values import json_text, read_value, spell
from lmpipe.lm.message import Constraint
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec


def _describe(field: FieldSpec) -> str:
    hint = field.shape.hint()
    if field.shape.kind == "json":
        hint = f"JSON of this schema: {json_text(field.schema)}"
    return f"{field.desc} ({hint})" if field.desc else hint


def _read_fields(fields: Sequence[FieldSpec], texts: Mapping[str, str]) -> Reading:
    if len(texts) < len(fields):
        # A text without any label is not a reply in which every output was left out.
        absent = [field for field in fields if field.name not in texts]
        missing = [field.name for field in absent if field.required or not texts]
        if missing:
            raise LayoutError(f"the reply lacks {', '.join(map(repr, missing))}")
    read = {f.name: read_value(f, texts[f.name]) for f in fields if f.name in texts}
    values = {name: value for name, (value, _) in read.items()}
    return Reading(values, any(repaired for _, repaired in read.values()))


def _cut(pattern: re.Pattern[str], names: Sequence[str], text: str) -> dict[str, str]:
    """Cut a text at its labels; if a label is repeated, its first text wins."""
    found = list(pattern.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    texts: dict[str, str] = {}
    for match, end in zip(found, ends, strict=False):  # no match has one end
        name = names[(match.lastindex or 1) - 1]
        texts.setdefault(name, text[match.end() : end].strip())
    return texts


@dataclass(frozen=True)
class ChatLayout:
    """Writes every field under its own marker line, `## field`; values may span lines."""

    name: str = "chat"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        form = "\n\n".join(f"## {field.name}\n<{_describe(field)}>" for field in spec.outputs)
        given = "".join(f"\n- {field.name}: {field.desc}" for field in spec.inputs if field.desc)
        notes = f"\n\nThe inputs:{given}" if given else ""
        return f"{instruction}{notes}\n\nReply in exactly this form:\n\n{form}"

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return self._fields(spec.inputs, inputs)

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        return self._fields(spec.outputs, outputs)

    def _fields(self, fields: Sequence[FieldSpec], values: Mapping[str, Any]) -> str:
        return "\n\n".join(
            f"## {field.name}\n{spell(field, values[field.name])}"
            for field in fields
            if field.name in values
        )

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        names = spec.output_names
        texts = _cut_exact(names, text) or _cut(_chat_markers(names), names, text)
        return _read_fields(spec.outputs, texts)

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Any]:
        head, newline, last = text.rpartition("\n")
        if last.lstrip(" \t").startswith("#") or not last.strip():
            text = head + newline  # it may become a marker
        return dict(_cut(_chat_markers(spec.output_names), spec.output_names, text))

    def constraint(self, spec: SignatureSpec) -> Constraint:
        parts: list[str | FieldSpec] = []
        for index, field in enumerate(spec.outputs):
            parts += [("\n\n" if index else "") + f"## {field.name}\n", field]
        return reply_grammar(parts)


def _cut_exact(names: Sequence[str], text: str) -> dict[str, str] | None:
    """Cut a reply that follows the form and has no other `#`; much faster than `_cut`."""
    if text.count("#") != 2 * len(names) or not text.startswith(f"## {names[0]}\n"):
        return None
    texts, start = {}, len(names[0]) + 4
    for name, following in pairwise(names):
        marker = f"\n## {following}\n"
        end = text.find(marker, start - 1)
        if end < 0:
            return None
        texts[name] = text[start:end].strip()
        start = end + len(marker)
    texts[names[-1]] = text[start:].strip()
    return texts


@lru_cache(maxsize=512)
def _chat_markers(names: tuple[str, ...]) -> re.Pattern[str]:
    # One group per name, in order: the number of the matching group tells the field.
    alternatives = "|".join(f"({re.escape(name)})" for name in names)
    return re.compile(rf"^[ \t]*#+[ \t]*(?:{alternatives})[ \t]*:?[ \t]*$", re.M | re.I)


@dataclass(frozen=True)
class PlainLayout:
    """Writes short `Field: value` lines; a single output is the bare value. For small models."""

    name: str = "plain"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        if len(spec.outputs) == 1:
            field = spec.outputs[0]
            asked = f"Reply with the {field.name.replace('_', ' ')} only: {_describe(field)}"
            return f"{instruction}\n{asked}"
        form = "\n".join(f"{_label(field.name)}: <{_describe(field)}>" for field in spec.outputs)
        return f"{instruction}\nReply in this form:\n{form}"

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return self._lines(spec.inputs, inputs)

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        if len(spec.outputs) == 1 and spec.outputs[0].name in outputs:
            return spell(spec.outputs[0], outputs[spec.outputs[0].name])
        return self._lines(spec.outputs, outputs)

    def _lines(self, fields: Sequence[FieldSpec], values: Mapping[str, Any]) -> str:
        return "\n".join(
            f"{_label(field.name)}: {spell(field, values[field.name])}"
            for field in fields
            if field.name in values
        )

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        names, text = spec.output_names, text.strip()
        pattern = _plain_labels(names)
        if len(names) == 1:
            opening = pattern.match(text)
            return _read_fields(spec.outputs, {names[0]: text[opening.end() if opening else 0 :]})
        return _read_fields(spec.outputs, _cut(pattern, names, text))

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Any]:
        names, text = spec.output_names, text.lstrip()
        head, newline, last = text.rpartition("\n")
        if _may_become_label(names, last):
            text = head + newline
        pattern = _plain_labels(names)
        if len(names) != 1:
            return dict(_cut(pattern, names, text))
        opening = pattern.match(text)
        only = text[opening.end() if opening else 0 :].strip()
        return {names[0]: only} if only else {}

    def constraint(self, spec: SignatureSpec) -> Constraint:
        if len(spec.outputs) == 1:
            return reply_grammar(spec.outputs)
        parts: list[str | FieldSpec] = []
        for index, field in enumerate(spec.outputs):
            parts += [("\n" if index else "") + f"{_label(field.name)}: ", field]
        return reply_grammar(parts)


def _may_become_label(names: Sequence[str], line: str) -> bool:
    """Whether an unfinished line may become a label."""
    start = line.strip(" \t*").casefold()
    labels = (spelled.casefold() for name in names for spelled in (name, _label(name)))
    return any(label.startswith(start) for label in labels)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


@lru_cache(maxsize=512)
def _plain_labels(names: tuple[str, ...]) -> re.Pattern[str]:
    alternatives = "|".join(f"({re.escape(name)}|{re.escape(_label(name))})" for name in names)
    return re.compile(rf"^[ \t]*\**(?:{alternatives})\**[ \t]*:\**[ \t]*", re.M | re.I)
