"""The `plain` layout: short `Field: value` lines, or one bare value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lmpipe.layouts.describe import blank, describe, describe_outputs
from lmpipe.layouts.grammar import TextLines, reply_grammar
from lmpipe.layouts.labels import (
    Label,
    bold,
    cut_at,
    drop_repeats,
    label,
    label_of,
    name_key,
    unwrap_fence,
)
from lmpipe.layouts.layout import Part, Reading
from lmpipe.layouts.near_misses import partial_near_miss, read_near_miss
from lmpipe.layouts.parse_values import spell
from lmpipe.layouts.text_layout import TextLayout
from lmpipe.layouts.text_values import escape, missing_outputs, read_texts, spelled, trim, unescape
from lmpipe.lm.message import Constraint
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec


@dataclass(frozen=True)
class PlainLayout(TextLayout):
    """Writes short `Field: value` lines; a single output is the bare value. For small models.

    A line of a value that looks like a label has one more backslash before it. Values keep
    everything but outer white space; the first line keeps its indentation.
    """

    name: str = "plain"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        if len(spec.outputs) == 1:
            field = spec.outputs[0]
            asked = f"Reply with the {field.name.replace('_', ' ')} only: {describe(field)}"
            return f"{instruction}\n{asked}"
        labels = labels_of(spec.output_names).by_name
        form = "\n".join(f"{labels[name]}: {blank(name)}" for name in spec.output_names)
        return f"{instruction}{describe_outputs(spec)}\n\nThe reply has this form:\n{form}"

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return _write(spec.inputs, inputs)

    def reminder(self, spec: SignatureSpec) -> str:
        return ""

    def again(self, spec: SignatureSpec) -> str:
        if len(spec.outputs) == 1:
            return f"Answer again with the {spec.output_names[0].replace('_', ' ')} only."
        return super().again(spec)

    def rest(self, spec: SignatureSpec) -> str:
        if len(spec.outputs) == 1:
            return f"Write the {spec.output_names[0].replace('_', ' ')} only."
        return super().rest(spec)

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        field = spec.outputs[0]
        if len(spec.outputs) > 1 or field.name not in outputs:
            return write_labeled(spec.outputs, outputs)
        return _spelled_bare(spec.output_names, field, outputs[field.name])

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        if len(spec.outputs) == 1:
            return read_texts(spec, {spec.output_names[0]: _bare(spec.output_names, text)})
        text = unwrap_fence(spec.output_names, text)
        labels, lines = _find_labels(spec.output_names, text)
        texts = cut_at(labels, lines)
        if missing_outputs(spec, texts) or not texts:
            return read_near_miss(spec, text, labels, _expected(spec))
        return read_texts(spec, _unescaped(spec.output_names, texts))

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        names = spec.output_names
        head, newline, last = text.rpartition("\n")
        if len(names) == 1:
            if not head.strip() and _may_become_label(names, last):
                return {}
            only = trim(_bare(names, text))
            return {names[0]: Part(only)} if only else {}
        if _may_become_label(names, last):
            text = head + newline
        labels, lines = _find_labels(names, text)
        texts = cut_at(labels, lines) if labels else partial_near_miss(names, text)
        return {name: Part(trim(part)) for name, part in _unescaped(names, texts).items()}

    def constraint(self, spec: SignatureSpec) -> Constraint:
        names = spec.output_names
        if len(names) == 1:
            return reply_grammar(
                [("", spec.outputs[0])],
                TextLines(),
                lambda f, value: _spelled_bare(names, f, value),
            )
        labels = labels_of(names)
        before = [
            (("\n" if number else "") + f"{labels.by_name[field.name]}: ", field)
            for number, field in enumerate(spec.outputs)
        ]
        lines = TextLines([f"{label}:" for label in labels.names])
        return reply_grammar(
            before, lines, lambda f, value: _escaped(labels, trim(spell(f, value)))
        )


def write_labeled(fields: Sequence[FieldSpec], values: Mapping[str, Any]) -> str:
    """Write the values that there are, each after its label."""
    return _write(fields, values, trimmed=True)


def _write(fields: Sequence[FieldSpec], values: Mapping[str, Any], *, trimmed: bool = False) -> str:
    labels = labels_of(tuple(field.name for field in fields))
    texts = spelled(fields, values, trimmed=trimmed)
    return "\n".join([f"{labels.by_name[name]}: {_escaped(labels, text)}" for name, text in texts])


def _escaped(labels: _Labels, text: str) -> str:
    """Write a value after its label; only its further lines can look like a label."""
    first, newline, more = text.partition("\n")
    return first + newline + (escape(more, labels.is_label) if ":" in more else more)


def _spelled_bare(names: tuple[str, ...], field: FieldSpec, value: Any) -> str:
    first, newline, more = trim(spell(field, value)).partition("\n")
    return escape(first, lambda line: _opens(names, line)) + newline + more


@dataclass(frozen=True)
class _Labels:
    """The labels of some fields, in their exact form."""

    by_name: Mapping[str, str]
    names: Mapping[str, str]

    def is_label(self, line: str) -> bool:
        before, colon, _ = line.partition(":")
        return bool(colon) and before in self.names


@lru_cache(maxsize=512)
def labels_of(names: tuple[str, ...]) -> _Labels:
    """Make the labels of fields: their names as words, unless two would be the same."""
    words = {name: name.replace("_", " ").capitalize() for name in names}
    if len(set(words.values())) < len(names):
        words = {name: name for name in names}
    return _Labels(words, {word: name for name, word in words.items()})


def _find_labels(names: tuple[str, ...], text: str) -> tuple[list[Label], list[str]]:
    """Find the lines that begin with a label in its exact form."""
    labels, lines, found = labels_of(names), text.split("\n"), []
    for number, line in enumerate(lines):
        before, colon, rest = line.partition(":")
        if colon and before in labels.names:
            found.append(Label(number, labels.names[before], rest[1:], "", exact=True))
    return drop_repeats(found), lines


def _unescaped(names: tuple[str, ...], texts: Mapping[str, str]) -> Mapping[str, str]:
    """Undo the escapes in the further lines of values."""
    is_label, values = labels_of(names).is_label, {}
    for name, text in texts.items():
        first, newline, more = text.partition("\n")
        values[name] = first + newline + unescape(more, is_label)
    return values


def _bare(names: tuple[str, ...], text: str) -> str:
    """The only value of a reply, without a label before it."""
    text = trim(text)
    first, newline, more = text.partition("\n")
    if first.startswith("\\"):
        return unescape(first, lambda line: _opens(names, line)) + newline + more
    found = label_of(names, first, (bold, label))
    return trim(found.rest + newline + more) if found else text


def _opens(names: tuple[str, ...], line: str) -> bool:
    """Whether a reader would take the first line of a bare value for its label."""
    return label_of(names, line, (bold, label)) is not None


def _may_become_label(names: Sequence[str], line: str) -> bool:
    """Whether an unfinished line may become a label, or an escaped one."""
    start = name_key(line.strip(" \t\\*->`"))
    return any(name_key(name).startswith(start) for name in names)


def _expected(spec: SignatureSpec) -> str:
    labels = labels_of(spec.output_names).by_name.values()
    return f"write the lines {', '.join(f'{text}: …' for text in labels)}"
