"""The `chat` layout: every field below a marker line of its own, `[[field]]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from lmpipe.layouts.describe import blank, describe_inputs, describe_outputs, describe_type
from lmpipe.layouts.grammar import TextLines, reply_grammar
from lmpipe.layouts.labels import Label, cut_at, may_become_label, unwrap_fence
from lmpipe.layouts.layout import Part, Reading
from lmpipe.layouts.near_misses import break_at_markers, partial_near_miss, read_near_miss
from lmpipe.layouts.parse_values import spell
from lmpipe.layouts.text_layout import TextLayout
from lmpipe.layouts.text_values import (
    escape,
    missing_outputs,
    read_texts,
    trim,
    unescape,
)
from lmpipe.lm.message import Constraint
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec


@dataclass(frozen=True)
class ChatLayout(TextLayout):
    """Writes every field below its own marker line, `[[field]]`; values may span lines.

    A line of a value that looks like a marker has one more backslash before it. Values keep
    everything but outer white space; the first line keeps its indentation.
    """

    name: str = "chat"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        # LMs copy a form that holds the descriptions, leave an empty one empty, and small ones
        # repeat the inputs if the form does not show where these end.
        names = spec.input_names + spec.output_names
        form = "\n\n".join(f"[[{name}]]\n{blank(name)}" for name in names)
        fields = f"{describe_inputs(spec)}{describe_outputs(spec)}"
        return f"{instruction}{fields}\n\nA question and its reply have this form:\n\n{form}"

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return _write(spec, spec.inputs, inputs)

    def reminder(self, spec: SignatureSpec) -> str:
        # Small LMs forget the choices by the end of a question.
        first, *others = (_reminder(field) for field in spec.outputs)
        then = "".join(f", then {marker}" for marker in others)
        return f"\n\nReply with the outputs only, starting with the marker {first}{then}."

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        return _write(spec, spec.outputs, outputs, trimmed=True)

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        texts = _cut_form(spec.output_names, text)
        if texts is None:
            text = unwrap_fence(spec.output_names, text)
            labels, texts = _cut_at_markers(spec, text)
            if not texts or missing_outputs(spec, texts):
                return read_near_miss(spec, text, labels, _expected(spec))
            if (broken := break_at_markers(spec.output_names, text)) != text:
                _, texts = _cut_at_markers(spec, broken)
        if "\\[[" in text:
            texts = {name: unescape(part, _markers(spec).is_marker) for name, part in texts.items()}
        return read_texts(spec, texts)

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        names, markers = spec.output_names, _markers(spec)
        head, newline, last = text.rpartition("\n")
        if markers.may_become_marker(last):
            text = head + newline
        labels, texts = _cut_at_markers(spec, text)
        if labels:
            texts = {name: unescape(part, markers.is_marker) for name, part in texts.items()}
        else:
            if may_become_label(last):
                text = head + newline
            texts = partial_near_miss(names, text)
        return {name: Part(trim(part)) for name, part in texts.items()}

    def constraint(self, spec: SignatureSpec) -> Constraint:
        markers = sorted(_markers(spec).lines)
        labels = [
            (("\n\n" if number else "") + f"[[{field.name}]]\n", field)
            for number, field in enumerate(spec.outputs)
        ]
        return reply_grammar(
            labels,
            TextLines(markers, whole=True),
            lambda field, value: _escaped(spec, trim(spell(field, value))),
        )


def _reminder(field: FieldSpec) -> str:
    kind = describe_type(field)
    return f"[[{field.name}]]" + (f", which must be {kind}" if kind else "")


def _write(
    spec: SignatureSpec,
    fields: Sequence[FieldSpec],
    values: Mapping[str, Any],
    *,
    trimmed: bool = False,
) -> str:
    parts = []
    for field in fields:  # `spelled` would do, but every call passes here
        if field.name in values:
            value = values[field.name]
            plain = type(value) is str and field.takes_any_text
            text = value if plain else spell(field, value)
            if trimmed:
                text = trim(text)
            if "[[" in text:
                text = _escaped(spec, text)
            parts.append(f"[[{field.name}]]\n{text}")
    return "\n\n".join(parts)


def _escaped(spec: SignatureSpec, text: str) -> str:
    return escape(text, _markers(spec).is_marker)


def _expected(spec: SignatureSpec) -> str:
    markers = ", ".join(f"[[{name}]]" for name in spec.output_names)
    if len(spec.outputs) == 1:
        return f"write the marker {markers} alone on its line, with the value below it"
    return f"write the markers {markers}, each alone on its line, with its value below it"


def _cut_form(names: tuple[str, ...], text: str) -> dict[str, str] | None:
    """Cut a reply that has just the markers of the form, in order: the fast path."""
    if text.count("\n[[") != len(names) - 1 or not text.startswith(f"[[{names[0]}]]\n"):
        return None
    texts, start = {}, len(names[0]) + 5
    for name, following in pairwise(names):
        marker = f"\n[[{following}]]\n"
        end = text.find(marker, start - 1)
        if end < 0:
            return None
        texts[name] = text[start:end]
        start = end + len(marker)
    texts[names[-1]] = text[start:]
    return texts


def _cut_at_markers(spec: SignatureSpec, text: str) -> tuple[list[Label], dict[str, str]]:
    """Find the markers of outputs in a reply, and cut it there.

    Markers of inputs end a text too: LMs repeat the question, or go on with another one.
    """
    lines = text.split("\n")
    by_marker = {f"[[{name}]]": name for name in spec.input_names + spec.output_names}
    labels = [
        Label(number, by_marker[marker], "", "", exact=True)
        for number, line in enumerate(lines)
        if line.startswith("[[") and (marker := line.rstrip(" \t\r")) in by_marker
    ]
    outputs = set(spec.output_names)
    texts = {name: part for name, part in cut_at(labels, lines).items() if name in outputs}
    return [label for label in labels if label.name in outputs], texts


@dataclass(frozen=True)
class _Markers:
    """The marker lines of all fields of a signature."""

    lines: frozenset[str]

    def is_marker(self, line: str) -> bool:
        return line.rstrip(" \t\r") in self.lines

    def may_become_marker(self, line: str) -> bool:
        """Whether an unfinished line may become a marker, or an escaped one."""
        start = line.lstrip("\\").rstrip(" \t\r")
        return any(marker.startswith(start) for marker in self.lines)


def _markers(spec: SignatureSpec) -> _Markers:
    return _markers_of(spec.input_names + spec.output_names)


@lru_cache(maxsize=512)
def _markers_of(names: tuple[str, ...]) -> _Markers:
    return _Markers(frozenset(f"[[{name}]]" for name in names))
