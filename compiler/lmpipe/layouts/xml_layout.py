"""The `xml` layout: every field between tags of its name, `<answer>` and `</answer>`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lmpipe.layouts.describe import blank, describe_inputs, describe_outputs, describe_type
from lmpipe.layouts.grammar import TextLines, reply_grammar
from lmpipe.layouts.layout import Part, Reading
from lmpipe.layouts.near_misses import partial_near_miss, read_near_miss
from lmpipe.layouts.parse_values import spell
from lmpipe.layouts.read_elements import read_elements
from lmpipe.layouts.tags import CDATA, find_inline, find_lines, inside_cdata, without_cut_tag
from lmpipe.layouts.text_layout import TextLayout
from lmpipe.layouts.text_values import (
    ambiguous,
    escape,
    lacks,
    missing_outputs,
    read_texts,
    spelled,
    trim,
    unescape,
)
from lmpipe.lm.message import Constraint
from lmpipe.signatures.signature_spec import FieldSpec, SignatureSpec


@dataclass(frozen=True)
class XmlLayout(TextLayout):
    """Writes every field between tags of its name, which stand on lines of their own.

    A line of a value that is such a tag, or begins a CDATA section, has one more backslash before
    it; nothing else is escaped. Values keep everything but outer white space; the first line
    keeps its indentation.
    """

    name: str = "xml"

    def system(self, spec: SignatureSpec, instruction: str) -> str:
        names = spec.input_names + spec.output_names
        form = "\n\n".join(_element(name, blank(name)) for name in names)
        fields = f"{describe_inputs(spec)}{describe_outputs(spec)}"
        return f"{instruction}{fields}\n\nA question and its reply have this form:\n\n{form}"

    def user(self, spec: SignatureSpec, inputs: Mapping[str, Any]) -> str:
        return _write(spec, spec.inputs, inputs)

    def reminder(self, spec: SignatureSpec) -> str:
        first, *others = (_reminder(field) for field in spec.outputs)
        then = "".join(f", then {tags}" for tags in others)
        return f"\n\nReply with the outputs only, each between its tags: {first}{then}."

    def assistant(self, spec: SignatureSpec, outputs: Mapping[str, Any]) -> str:
        return _write(spec, spec.outputs, outputs, trimmed=True)

    def read(self, spec: SignatureSpec, text: str) -> Reading:
        found = find_lines(spec.output_names, text, inputs=spec.input_names)
        texts, doubtful, unclosed = found.texts, found.doubtful, found.unclosed
        if not texts or unclosed or missing_outputs(spec, texts):
            inline = find_inline(spec.output_names, text, inputs=spec.input_names)
            closed = {name: part for name, part in texts.items() if name not in unclosed}
            texts = {**texts, **inline.texts, **closed}
            doubtful |= inline.doubtful - closed.keys()
            unclosed = inline.unclosed - closed.keys()
        if not texts:
            return read_near_miss(spec, text, [], _expected(spec))
        texts = _without_cuts(texts, unclosed)
        if missing := missing_outputs(spec, texts):
            raise lacks(missing, _expected(spec))
        if doubtful:
            raise ambiguous(_expected(spec))
        return _read_values(spec, texts)

    def partial(self, spec: SignatureSpec, text: str) -> dict[str, Part]:
        tags = _tags(spec)
        head, newline, last = text.rpartition("\n")
        whole_lines = head + newline if tags.may_become_tag(last) else text
        texts = find_lines(spec.output_names, whole_lines, inputs=spec.input_names).texts
        if not texts:
            texts = find_inline(spec.output_names, text, unfinished=True).texts
        if not texts and not text.lstrip().startswith("<"):
            texts = partial_near_miss(spec.output_names, whole_lines)
        return {
            name: Part(trim(unescape(inside_cdata(part), tags.is_tag)))
            for name, part in texts.items()
        }

    def constraint(self, spec: SignatureSpec) -> Constraint:
        labels, before = [], ""
        for field in spec.outputs:
            labels.append((f"{before}<{field.name}>\n", field))
            before = f"\n</{field.name}>\n\n"
        return reply_grammar(
            labels,
            TextLines(sorted(_tags(spec).lines), whole=True),
            lambda field, value: _escaped(spec, trim(spell(field, value))),
            end=before.rstrip("\n"),
        )


def _element(name: str, text: str) -> str:
    return f"<{name}>\n{text}\n</{name}>"


def _reminder(field: FieldSpec) -> str:
    kind = describe_type(field)
    return f"<{field.name}>" + (f", which must be {kind}" if kind else "")


def _write(
    spec: SignatureSpec,
    fields: Sequence[FieldSpec],
    values: Mapping[str, Any],
    *,
    trimmed: bool = False,
) -> str:
    texts = spelled(fields, values, trimmed=trimmed)
    return "\n\n".join([_element(name, _escaped(spec, text)) for name, text in texts])


def _escaped(spec: SignatureSpec, text: str) -> str:
    return escape(text, _tags(spec).is_tag) if "<" in text else text


def _without_cuts(texts: Mapping[str, str], unclosed: Collection[str]) -> dict[str, str]:
    """Leave out elements that end as they begin, and the beginning of a closing tag."""
    whole = {
        name: without_cut_tag(name, part) if name in unclosed else part
        for name, part in texts.items()
    }
    return {name: part for name, part in whole.items() if part.strip() or name not in unclosed}


def _read_values(spec: SignatureSpec, texts: Mapping[str, str]) -> Reading:
    """Read the values; those of models and lists may also be elements inside the tags."""
    is_tag, values, plain = _tags(spec).is_tag, dict[str, Any](), dict[str, str]()
    for field in spec.outputs:
        if field.name not in texts:
            continue
        text = texts[field.name]
        elements = read_elements(field, text) if field.shape.kind == "json" else None
        if elements is None:
            plain[field.name] = unescape(inside_cdata(text), is_tag)
        else:
            values[field.name] = elements
    reading = read_texts(spec, plain)
    together = {**reading.values, **values}
    ordered = {name: together[name] for name in spec.output_names if name in together}
    return Reading(ordered, reading.repaired or bool(values))


def _expected(spec: SignatureSpec) -> str:
    if len(spec.outputs) == 1:
        name = spec.output_names[0]
        return f"write the value between <{name}> and </{name}>, each alone on its line"
    tags = ", ".join(f"<{name}>" for name in spec.output_names)
    return f"write each value between its tags ({tags}), each tag alone on its line"


@dataclass(frozen=True)
class _Tags:
    """The tag lines of all fields of a signature."""

    lines: frozenset[str]

    def is_tag(self, line: str) -> bool:
        return line.rstrip(" \t\r") in self.lines or line.lstrip().startswith(CDATA)

    def may_become_tag(self, line: str) -> bool:
        """Whether an unfinished line may become a tag, or an escaped one."""
        start = line.lstrip("\\").rstrip(" \t\r")
        return CDATA.startswith(start.lstrip()) or any(tag.startswith(start) for tag in self.lines)


def _tags(spec: SignatureSpec) -> _Tags:
    return _tags_of(spec.input_names + spec.output_names)


@lru_cache(maxsize=512)
def _tags_of(names: tuple[str, ...]) -> _Tags:
    return _Tags(frozenset(tag for name in names for tag in (f"<{name}>", f"</{name}>")))
